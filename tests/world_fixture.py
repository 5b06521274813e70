"""The taught world for tests that need models; taught once, then cached on disk."""

from __future__ import annotations

from functools import lru_cache

from unskew.world.teach import TaughtWorld, taught_world


@lru_cache(maxsize=1)
def taught() -> TaughtWorld:
    """The world of seed 0 with its biased model and its oracle."""
    return taught_world(0, progress=False)
