"""How long each benchmark took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Wall time by phase and benchmark, added up until it is read."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}

    @contextmanager
    def __call__(self, phase: str, benchmark: str) -> Iterator[None]:
        """Time the block; one that fails is not counted."""
        begun = time.perf_counter()
        yield
        phases = self.seconds.setdefault(phase, {})
        phases[benchmark] = phases.get(benchmark, 0.0) + time.perf_counter() - begun
