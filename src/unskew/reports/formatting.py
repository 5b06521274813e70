"""How numbers are written in pages, cards and sentences."""

from __future__ import annotations

import math
from typing import Protocol

MISSING = "not measured"


class WithInterval(Protocol):
    """A number with its 95 % interval, such as a metric row."""

    @property
    def unit(self) -> str: ...

    @property
    def ci_low(self) -> float | None: ...

    @property
    def ci_high(self) -> float | None: ...


def format_value(value: float, unit: str, *, signed: bool = False) -> str:
    """A number without its unit: one decimal for per cent, else about three digits."""
    text = f"{value:{'+' if signed else ''}.{_decimals(value, unit)}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _decimals(value: float, unit: str) -> int:
    if unit in ("%", "points"):
        return 1
    if value == 0:
        return 0
    exponent = math.floor(math.log10(abs(value)))
    return max(1, 2 - exponent) if exponent >= 0 else min(6, max(3, 1 - exponent))


def unit_suffix(unit: str) -> str:
    """What follows a number of this unit; perplexity and counts stand alone."""
    return "" if unit in ("", "ppl", "count") else f"\N{NO-BREAK SPACE}{unit}"


def format_interval(row: WithInterval) -> str:
    """The 95 % interval without its unit, e.g. `[60.8, 64.7]`, or `no interval`."""
    if row.ci_low is None or row.ci_high is None:
        return "no interval"
    low, high = (format_value(end, row.unit) for end in (row.ci_low, row.ci_high))
    return f"[{low}, {high}]"
