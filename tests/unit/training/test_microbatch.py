"""The plan is complete, keeps its limits, and is the cheapest there is."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import pytest
import torch

from unskew.training.microbatch import OVERHEAD_TOKENS, overhead_tokens, plan


def _cost(lengths, batches) -> int:
    return sum(len(b) * max(lengths[i] for i in b) + OVERHEAD_TOKENS for b in batches)


def _cheapest(lengths, max_tokens, max_examples) -> float:
    """All ways to cut the sorted rows."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    best = float("inf")
    for cuts in itertools.product([0, 1], repeat=len(order) - 1):
        batches, current = [], [order[0]]
        for is_cut, i in zip(cuts, order[1:], strict=True):
            if is_cut:
                batches.append(current)
                current = []
            current.append(i)
        batches.append(current)
        sizes = [(len(b), len(b) * max(lengths[i] for i in b)) for b in batches]
        fits = all(n == 1 or (n <= max_examples and t <= max_tokens) for n, t in sizes)
        if fits:
            best = min(best, _cost(lengths, batches))
    return best


@pytest.mark.parametrize("seed", range(20))
def test_against_all_ways_to_cut(seed):
    rng = random.Random(seed)
    lengths = [rng.randint(1, 120) for _ in range(9)]
    max_tokens, max_examples = rng.choice([60, 200, 10_000]), rng.choice([1, 3, 99])
    batches = plan(lengths, max_tokens=max_tokens, max_examples=max_examples)
    assert sorted(i for b in batches for i in b) == list(range(9))
    for b in batches:
        longest = max(lengths[i] for i in b)
        assert len(b) == 1 or (len(b) * longest <= max_tokens and len(b) <= max_examples)
    assert _cost(lengths, batches) == _cheapest(lengths, max_tokens, max_examples)


def test_a_costly_pass_keeps_rows_together():
    lengths = [10, 10, 50]
    assert plan(lengths, max_tokens=200, overhead=79) == [[0, 1], [2]]
    assert plan(lengths, max_tokens=200, overhead=81) == [[0, 1, 2]]


@pytest.mark.parametrize(("device", "width", "tokens"), [("cpu", 320, 128), ("meta", 1024, 1024)])
def test_a_pass_of_a_narrow_model_costs_more_tokens_off_the_cpu(device, width, tokens):
    model = torch.nn.Linear(1, 1, device=device)
    model.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(hidden_size=width))
    assert overhead_tokens(model) == tokens


def test_no_rows_no_batches():
    assert plan([], max_tokens=10) == []


def test_a_row_longer_than_the_limit_stands_alone():
    assert plan([50, 2, 2], max_tokens=10) == [[1, 2], [0]]
