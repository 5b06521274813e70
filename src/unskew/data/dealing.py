"""Orders and shares that counters alone decide, so that a stream can stop and go on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np


class ShuffledCycle:
    """Positions 0..n-1 in an order that is reshuffled at every wrap.

    Args:
        size: Number of items.
        key: Seed and name of the stream; equal keys give equal orders.
    """

    def __init__(self, size: int, key: str) -> None:
        self.size = size
        self.key = key
        self._epoch = -1
        self._order: np.ndarray = np.empty(0, dtype=np.int64)

    def at(self, position: int) -> int:
        """Item at a position of the endless sequence."""
        epoch, offset = divmod(position, self.size)
        if epoch != self._epoch:
            seed = hashlib.sha256(f"{self.key}|{epoch}".encode()).digest()
            rng = np.random.Generator(np.random.PCG64(int.from_bytes(seed[:16], "little")))
            self._order, self._epoch = rng.permutation(self.size), epoch
        return int(self._order[offset])


class Apportionment:
    """Deals out whole draws so that every prefix is as near its shares as whole numbers allow.

    Smooth weighted round robin: every draw credits the names in play with their share and charges
    the one that has most. A name out of play earns nothing and owes nothing.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self.shares = dict(shares)
        self.credit = dict.fromkeys(shares, 0.0)

    def next(self, allowed: Sequence[str] | None = None) -> str:
        """Name whose turn it is; the first of equals.

        Args:
            allowed: Names in play; all if None.
        """
        names = list(self.shares) if allowed is None else list(allowed)
        weight = sum(self.shares[n] for n in names)
        for n in names:
            self.credit[n] += self.shares[n] / weight
        name = max(names, key=lambda n: round(self.credit[n], 9))
        self.credit[name] -= 1
        return name
