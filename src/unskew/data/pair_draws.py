"""Whole pairs, every category as often, each shown with or without the start token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from unskew.data.dealing import Apportionment, ShuffledCycle
from unskew.types import Pair

ShownPair = tuple[Pair, bool]
"""A pair, and whether the model sees the start token in front of its texts."""


class Starts:
    """Deals out the start token, so that every category has its share with and without.

    Args:
        without_start: Share of pairs shown without it.
    """

    def __init__(self, without_start: float) -> None:
        self._shares = {"start": 1 - without_start, "none": without_start}
        self._by_category: dict[str, Apportionment] = {}

    def deal(self, pairs: Iterable[Pair]) -> list[ShownPair]:
        """The pairs in their order."""
        return [(pair, self._next(pair.category)) for pair in pairs]

    def _next(self, category: str) -> bool:
        dealer = self._by_category.setdefault(category, Apportionment(self._shares))
        return dealer.next() == "start"


class PairDraws:
    """An endless stream of pairs; every category is reshuffled when it has been gone through.

    Args:
        pairs: At least one.
        without_start: Share of them shown without the start token.
        seed: Of all orders.
    """

    def __init__(self, pairs: Sequence[Pair], *, without_start: float, seed: int) -> None:
        self._pools: dict[str, list[Pair]] = {}
        for pair in sorted(pairs, key=lambda p: p.id):
            self._pools.setdefault(pair.category, []).append(pair)
        self._cycles = {c: ShuffledCycle(len(p), f"{seed}|{c}") for c, p in self._pools.items()}
        self._positions = dict.fromkeys(self._pools, 0)
        self._turn = Apportionment(dict.fromkeys(sorted(self._pools), 1.0))
        self._starts = Starts(without_start)

    def next(self, count: int) -> list[ShownPair]:
        """The next so many."""
        return self._starts.deal(self._draw(self._turn.next()) for _ in range(count))

    def _draw(self, category: str) -> Pair:
        place = self._cycles[category].at(self._positions[category])
        self._positions[category] += 1
        return self._pools[category][place]
