"""References: what they say, and what they leave as it was."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.fixtures import encoder, pairs, tiny_model, with_adapter
from unskew.models.logprobs import ScoringPath, collate, sum_by_row
from unskew.models.reference import (
    AdapterOffReference,
    LogprobCache,
    ModelReference,
    reference_for,
)
from unskew.types import Segment

ROWS = encoder().encode([Segment(p.stereotype, p.completion_start) for p in pairs()])
KEYS = [p.id for p in pairs()]


def _sums(path, reference) -> torch.Tensor:
    batch = collate(ROWS)
    with reference.frozen():
        return sum_by_row(path.greedy(path.states(batch), batch.targets).logprob, batch)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_copy_adapter_off_and_cache_agree(family):
    base = tiny_model(family)
    path = ScoringPath(with_adapter(copy.deepcopy(base)))
    frozen_copy = ModelReference(copy.deepcopy(base))
    adapter_off = AdapterOffReference(path)
    of_copy = _sums(frozen_copy.path, frozen_copy)
    of_adapter = _sums(path, adapter_off)
    cached = LogprobCache(adapter_off).lookup(KEYS, ROWS)
    torch.testing.assert_close(of_adapter, of_copy, rtol=0, atol=1e-6)
    torch.testing.assert_close(cached, of_copy, rtol=0, atol=1e-6)
    with torch.no_grad():
        batch = collate(ROWS)
        ours = sum_by_row(path.logprobs(path.states(batch), batch.targets), batch)
    assert (ours - of_copy).abs().max() > 1e-2, "the adapter changes nothing: the test is empty"


@pytest.mark.parametrize("training", [False, True])
def test_a_reference_pass_leaves_flags_and_mode_as_they_were(training):
    model = with_adapter(tiny_model())
    model.train(training)
    before = {n: (p.requires_grad, p.detach().clone()) for n, p in model.named_parameters()}
    reference = AdapterOffReference(ScoringPath(model))
    with pytest.raises(KeyError), reference.frozen():
        assert not model.training
        assert not torch.is_grad_enabled()
        raise KeyError
    _sums(reference.path, reference)
    assert {m.training for m in model.modules()} == {training}
    for name, p in model.named_parameters():
        flag, value = before[name]
        assert p.requires_grad == flag, name
        assert torch.equal(p, value), name


def test_the_cache_computes_each_row_once_and_survives_its_state(monkeypatch):
    cache = LogprobCache(ModelReference(tiny_model()))
    first = cache.lookup(KEYS[:4], ROWS[:4])
    calls = []
    states = cache.reference.path.states
    monkeypatch.setattr(
        cache.reference.path, "states", lambda batch: calls.append(batch.num_rows) or states(batch)
    )
    order = [3, 0, 5, 5, 1]
    again = cache.lookup([KEYS[i] for i in order], [ROWS[i] for i in order])
    assert calls == [1], "four of the five rows are known or asked for twice"
    assert again[[1, 4, 0]].tolist() == first[[0, 1, 3]].tolist()
    fresh = LogprobCache(cache.reference)
    fresh.load_state_dict(cache.state_dict())
    assert fresh.lookup(KEYS[:4], ROWS[:4]).tolist() == first.tolist()
    assert calls == [1]
    assert cache.lookup([], []).shape == (0,)


def test_without_an_adapter_the_reference_is_a_copy():
    model = tiny_model()
    reference = reference_for(ScoringPath(model))
    before = _sums(reference.path, reference)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    assert torch.equal(_sums(reference.path, reference), before)
    assert not any(p.requires_grad for p in reference.path.model.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_with_an_adapter_the_reference_is_the_same_model():
    path = ScoringPath(with_adapter(tiny_model()))
    assert reference_for(path).path is path
