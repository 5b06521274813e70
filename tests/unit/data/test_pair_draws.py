"""Whole pairs: every category as often, every pair once an epoch, starts shared out."""

from __future__ import annotations

from collections import Counter

from tests.fixtures import pairs
from unskew.data.pair_draws import PairDraws, Starts


def draws(seed=0, without_start=0.5, rows=None):
    return PairDraws(rows or pairs(), without_start=without_start, seed=seed)


def test_every_category_as_often_whatever_it_holds():
    few = [p for p in pairs() if p.category == "gender"] + pairs()[-1:]
    found = Counter(pair.category for pair, _ in draws(rows=few).next(20))
    assert found == {"gender": 10, "race": 10}


def test_every_pair_once_before_any_again_and_then_in_another_order():
    source = draws()
    epochs = [[pair.id for pair, _ in source.next(16)] for _ in range(2)]
    assert all(len(set(ids)) == 16 for ids in epochs)
    assert epochs[0] != epochs[1]


def test_the_seed_decides_the_order_and_the_cut_does_not():
    together = draws().next(12)
    source = draws()
    assert [*source.next(5), *source.next(7)] == together
    assert draws(seed=1).next(12) != together


def test_the_start_token_is_shared_out_within_each_category():
    """Categories come in turn; dealt over all of them, one would never see a start token."""
    for shown in (draws().next(16), Starts(0.5).deal(pairs())):
        found = Counter((pair.category, has_start) for pair, has_start in shown)
        assert set(found.values()) == {4}
    assert all(has_start for _, has_start in draws(without_start=0.0).next(8))
