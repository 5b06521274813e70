"""Vectors of texts against one forward pass a text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.fixtures import encoder, pairs, tiny_model, with_adapter
from unskew.benchmarks.seat import SEAT
from unskew.embeddings import Association, EmbeddingRequest
from unskew.errors import BenchmarkError, DataError
from unskew.evaluation import runner as module
from unskew.evaluation.runner import Runner
from unskew.models.logprobs import ScoringPath
from unskew.models.projections import AttachedProjection
from unskew.protocols import Erasure
from unskew.types import Examples

TEXTS = tuple(dict.fromkeys(p.context.strip() for p in pairs()))
SETS = (TEXTS[:3], TEXTS[3:8])


def _requests():
    return [
        EmbeddingRequest(f"{text}-{pooling}", text, SETS, pooling)
        for text in (*TEXTS, "kind")
        for pooling in ("last", "mean")
    ]


def _runner(model, **options):
    return Runner(ScoringPath(model), encoder(), **options)


@torch.no_grad()
def _plain(model, text, pooling):
    """The body's output on one row, by the tokens after the start token."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    ids = torch.tensor([[1, *encoder().tokenizer(text)["input_ids"]]])
    states = inner.base_model(input_ids=ids).last_hidden_state[0, 1:]
    return (states[-1] if pooling == "last" else states.mean(0)).numpy()


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "gemma2", "bloom", "adapter"])
def test_vectors_are_the_plain_loops(family):
    """gemma2's logits are more than a head on the states, so the scoring path keeps no body."""
    model = with_adapter(tiny_model()) if family == "adapter" else tiny_model(family)
    answers = _runner(model, tokens_per_batch=20).answer(_requests())
    for request in _requests():
        answer = answers[request.id]
        wanted = _plain(model, request.text, request.pooling)
        assert answer.vector.dtype == np.float32
        assert answer.vector == pytest.approx(wanted, abs=1e-4)
        for vectors, texts in zip(answer.sets, request.sets, strict=True):
            assert vectors[-1] == pytest.approx(_plain(model, texts[-1], request.pooling), abs=1e-4)


def test_the_adapter_is_in_the_vectors():
    model = with_adapter(tiny_model())
    request = EmbeddingRequest("a", TEXTS[0])
    ours = _runner(model).answer([request])["a"].vector
    with model.disable_adapter():
        theirs = _runner(model).answer([request])["a"].vector
    assert np.abs(ours - theirs).max() > 0.01


def test_batch_size_order_and_shares_do_not_matter(monkeypatch):
    model, requests = tiny_model(), _requests()
    plain = _runner(model).answer(requests)
    for tokens_per_batch in (1, 30, 100_000):
        again = _runner(model, tokens_per_batch=tokens_per_batch).answer(requests[::-1])
        for key, answer in plain.items():
            assert again[key].vector == pytest.approx(answer.vector, abs=1e-5)
    for rank in range(2):
        monkeypatch.setattr(module, "share_of", lambda asked, rank=rank: asked[rank::2])
        share = _runner(model).answer(requests)
        assert list(share) == [r.id for r in requests[rank::2]]
        for key, answer in share.items():
            assert answer.vector == pytest.approx(plain[key].vector, abs=1e-5)
            assert answer.sets[0] == pytest.approx(plain[key].sets[0], abs=1e-5)


def test_a_text_is_read_once_and_sets_are_shared(monkeypatch):
    rows = []
    original = module.collate
    monkeypatch.setattr(module, "collate", lambda r, *a: rows.extend(r) or original(r, *a))
    answers = _runner(tiny_model()).answer(_requests())
    assert len(rows) == len(TEXTS) + 1
    of_last = [answers[r.id].sets[0] for r in _requests() if r.pooling == "last"]
    assert all(one is of_last[0] for one in of_last)


def test_the_progress_of_vectors_is_counted_and_nothing_else_is_asked():
    prepared = _runner(tiny_model()).prepare(_requests())
    assert len(prepared.embeddings.rows) == len(TEXTS) + 1
    assert not prepared.likelihoods.rows


def test_a_text_as_long_as_the_context_is_read_and_a_longer_one_refused():
    runner = _runner(tiny_model())
    assert runner.answer([EmbeddingRequest("x", " ".join(["kind"] * 63))])
    with pytest.raises(DataError, match="65 tokens in"):
        runner.answer([EmbeddingRequest("x", " ".join(["kind"] * 64))])


def test_a_state_that_is_not_finite_is_told():
    model = tiny_model()
    with torch.no_grad():
        model.transformer.ln_f.weight[3] = torch.nan
    with pytest.raises(BenchmarkError, match="hidden state of 'kind' is zero, NaN or infinite"):
        _runner(model).answer([EmbeddingRequest("x", "kind")])


def _effect(model, benchmark):
    runner = _runner(model)
    answers = runner.answer(benchmark.requests())
    scores = [benchmark.score(r, answers[r.id]) for r in benchmark.requests()]
    return {
        m.variant: m.value
        for m in benchmark.metrics(scores)
        if (m.metric, m.category) == ("effect_size", "overall")
    }


@pytest.mark.parametrize("site", ["final", 1])
def test_a_projection_that_hides_the_difference_takes_the_effect_away(site):
    """Erased is the one direction in which the two sets of targets differ in the mean.

    At the last layer too: its norm comes after, so there the effect only shrinks.
    """
    model = tiny_model()
    men, women = (
        ("kind nurse", "shy nurse", "rich nurse"),
        ("kind pilot", "shy pilot", "rich pilot"),
    )
    item = Association("t", "gender", (men, women), (("the nurse",), ("the pilot",)))
    benchmark = SEAT(Examples(associations=(item,)), split="report", num_resamples=0)
    before = _effect(model, benchmark)["words-last"]
    assert before > 1
    path = f"{site}"
    states = {t: _state(model, site, t) for t in (*men, *women)}
    gap = sum(states[t] for t in men) - sum(states[t] for t in women)
    gap = gap / gap.norm()
    mean = sum(states.values()) / 6
    attached = AttachedProjection(model, Erasure(mean, gap[:, None], gap[None]), site)
    after = _effect(model, benchmark)["words-last"]
    assert abs(after) < before / 2, path
    with attached.off():
        assert _effect(model, benchmark)["words-last"] == pytest.approx(before, abs=1e-5)
    attached.remove()
    assert _effect(model, benchmark)["words-last"] == pytest.approx(before, abs=1e-5)


@torch.no_grad()
def _state(model, site, text):
    ids = torch.tensor([[1, *encoder().tokenizer(text)["input_ids"]]])
    if site == "final":
        return model.base_model(input_ids=ids).last_hidden_state[0, -1]
    # hidden_states[-1] is behind the norm, so the block's own output is taken by a hook.
    found = []
    handle = model.transformer.h[site].register_forward_hook(
        lambda m, a, out: found.append(out if isinstance(out, torch.Tensor) else out[0])
    )
    model(input_ids=ids)
    handle.remove()
    return found[0][0, -1]
