"""Projections on a model: by hook, off, and folded into the head, against the formula."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import encoder, pairs, tiny_model
from unskew.errors import ArtifactError, ConfigError
from unskew.models.logprobs import ScoringPath, collate
from unskew.models.projections import AttachedProjection, fold, site_module, states_at
from unskew.models.reference import AdapterOffReference
from unskew.protocols import Erasure
from unskew.types import Segment

WIDTH = 32


def erasure(mean: float = 1.0, width: int = WIDTH, rank: int = 3) -> Erasure:
    torch.manual_seed(5)
    return Erasure(mean * torch.randn(width), torch.randn(width, rank), torch.randn(rank, width))


def batch():
    return collate(encoder().encode([Segment(p.stereotype) for p in pairs()[:5]]))


@torch.no_grad()
def logits(model):
    path = ScoringPath(model)
    return path.logits(path.states(batch()))


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "opt", "gemma2"])
def test_at_the_end_it_is_the_head_of_the_projected_states(family):
    model, e = tiny_model(family), erasure()
    states, before = states_at(model, "final", batch()), logits(model)
    attached = AttachedProjection(model, e, "final", 0.7)
    expected = states - 0.7 * (states - e.mean) @ e.right.T @ e.left.T
    assert torch.allclose(states_at(model, "final", batch()), expected, atol=1e-4)
    after = model(input_ids=batch().input_ids).logits.flatten(0, 1)[batch().state_index]
    assert torch.allclose(logits(model), after, atol=1e-4)
    with torch.no_grad():
        wanted = model.get_output_embeddings()(expected)
    if family != "gemma2":  # its logits are capped behind the head
        assert torch.allclose(after, wanted, atol=1e-4)
    assert (after - before).abs().max() > 0.1
    attached.remove()
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "opt"])
def test_at_a_layer_it_changes_that_block_and_what_follows(family):
    model, e = tiny_model(family), erasure()
    first, last = (states_at(model, site, batch()) for site in (0, 1))
    attached = AttachedProjection(model, e, 0)
    expected = first - (first - e.mean) @ e.right.T @ e.left.T
    assert torch.allclose(states_at(model, 0, batch()), expected, atol=1e-3)
    assert not torch.allclose(states_at(model, 1, batch()), last, atol=0.1)
    attached.remove()
    assert torch.equal(states_at(model, 1, batch()), last)


def test_off_and_strength_0_are_the_base_to_the_bit():
    model = tiny_model()
    before = logits(model)
    attached = AttachedProjection(model, erasure(), "final")
    with AdapterOffReference(ScoringPath(model)).frozen():
        assert torch.equal(logits(model), before)
    assert not torch.equal(logits(model), before)
    attached.strength = 0.0
    assert torch.equal(logits(model), before)


def test_generation_with_a_cache_is_that_without():
    model = tiny_model()
    AttachedProjection(model, erasure(), 0)
    ids = batch().input_ids[:1]
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    cached = model.generate(ids, use_cache=True, **options)
    assert torch.equal(cached, model.generate(ids, use_cache=False, **options))


@pytest.mark.parametrize(("family", "mean"), [("llama", 0.0), ("gpt2", 0.0), ("opt", 0.0)])
def test_folded_into_the_head_it_is_the_same(family, mean, tmp_path):
    model = tiny_model(family)
    attached = AttachedProjection(model, erasure(mean), "final", 0.6)
    wanted = logits(model)
    embedding = model.get_input_embeddings().weight.clone()
    folded = fold(attached)
    assert torch.allclose(logits(folded), wanted, atol=1e-4)
    assert torch.equal(folded.get_input_embeddings().weight, embedding)
    folded.save_pretrained(tmp_path)
    again = type(folded).from_pretrained(tmp_path).eval()
    assert torch.equal(logits(again), logits(folded))


def test_a_head_with_a_bias_takes_the_offset():
    model = tiny_model("llama", tie_word_embeddings=False)
    model.lm_head = torch.nn.Linear(WIDTH, model.config.vocab_size)
    attached = AttachedProjection(model, erasure(), "final")
    wanted = logits(model)
    assert torch.allclose(logits(fold(attached)), wanted, atol=1e-4)


def test_what_no_head_can_do_is_refused():
    model = tiny_model()
    attached = AttachedProjection(model, erasure(), "final")
    with pytest.raises(ArtifactError, match=r"projection\.affine=false"):
        fold(attached)
    attached.remove()
    with pytest.raises(ArtifactError, match="no change of its head; attach it"):
        fold(AttachedProjection(model, erasure(0.0), 1))
    capped = tiny_model("gemma2")
    with pytest.raises(ArtifactError, match="no change of its head; attach it"):
        fold(AttachedProjection(capped, erasure(0.0), "final"))


def test_what_does_not_fit_is_refused():
    model = tiny_model()
    with pytest.raises(ArtifactError, match="width 8"):
        AttachedProjection(model, erasure(width=8), "final")
    with pytest.raises(ConfigError, match="layers 0 to 1"):
        site_module(model, 2)
    AttachedProjection(model, erasure(), "final")
    with pytest.raises(ConfigError, match="already"):
        AttachedProjection(model, erasure(), "final")
