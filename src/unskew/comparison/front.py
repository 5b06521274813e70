"""Bias against damage of finished runs, with the front of those that no other run dominates."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from unskew.comparison.contest import Key
from unskew.comparison.lineup import BASE
from unskew.comparison.result import Compared
from unskew.comparison.table import headline
from unskew.comparison.tradeoff import DAMAGES, Damage
from unskew.types import OVERALL, Metric

__all__ = ["Panel", "Spot", "as_image", "front", "panels"]

_WIDTH, _HEIGHT, _DPI = 5.0, 4.0, 110
"""Of a panel in inches, and pixels to the inch."""
_OWN, _NAMED, _PLAIN = "C0", "C1", "0.45"
_LONGEST = 40
"""Characters of a name."""

Ends = tuple[float, float]
"""Of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One model: its distance from the ideal and what was lost on the way."""

    name: str
    bias: float
    damage: float
    bias_ends: Ends | None = None
    damage_ends: Ends | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One kind of damage against the bias."""

    bias_title: str
    damage_title: str
    spots: tuple[Spot, ...]


def panels(compared: Compared) -> list[Panel]:
    """The bias the comparison is about against every kind of damage that a run has measured.

    Values are those of the report split on the shared items. Damage is against the base, with the
    interval of the paired difference.
    """
    measure = headline(compared.lineup)
    if measure is None:
        return []
    key = (measure.benchmark, measure.variant, measure.metric, OVERALL)
    title = f"{measure.title} {measure.variant}".strip() + ", points from the ideal"
    found = []
    for damage in DAMAGES:
        variants = _variants(compared, damage, measure.variant)
        for variant in variants[:1]:
            own = (damage.benchmark, variant, damage.metric, OVERALL)
            spots = [s for name in compared.names if (s := _spot(compared, name, key, own, damage))]
            if any(spot.name != BASE for spot in spots):
                found.append(Panel(title, f"{damage.title} ({damage.unit})", tuple(spots)))
    return found


def _variants(compared: Compared, damage: Damage, of_bias: str) -> list[str]:
    if damage.variant is not None:
        return [damage.variant]
    every = (key for own in compared.outcome.metrics.values() for key in own)
    found = dict.fromkeys(k[1] for k in every if (k[0], k[2]) == (damage.benchmark, damage.metric))
    return sorted(found, key=lambda variant: variant != of_bias)


def _spot(compared: Compared, name: str, key: Key, own: Key, damage: Damage) -> Spot | None:
    metrics = compared.outcome.metrics
    bias, now, before = metrics[name].get(key), metrics[name].get(own), _before(compared, own)
    if bias is None or bias.ideal is None or before is None or (now is None and name != BASE):
        return None
    value = before if now is None else now.value
    ends = None if now is None or name == BASE else _ends_now(compared, name, own, now, before)
    harm = None if ends is None else sorted(damage.of(before, end) for end in ends)
    return Spot(
        name,
        abs(bias.value - bias.ideal),
        damage.of(before, value),
        _distances(bias, bias.ideal),
        None if harm is None else (harm[0], harm[1]),
    )


def _before(compared: Compared, own: Key) -> float | None:
    """Of the base; 0 for what is a distance to it."""
    if own[1] == BASE:
        return 0.0
    found = compared.outcome.metrics.get(BASE, {}).get(own)
    return None if found is None else found.value


def _ends_now(compared: Compared, name: str, own: Key, now: Metric, before: float) -> Ends | None:
    """Of the value, or of the paired difference put on top of the base's."""
    if own[1] == BASE:
        return _ends(0.0, now.ci_low, now.ci_high)
    met = (c for c in compared.outcome.of(own) if (c.first, c.second) == (BASE, name))
    c = next(met, None)
    return None if c is None else _ends(before, c.ci_low, c.ci_high)


def _ends(start: float, low: float | None, high: float | None) -> Ends | None:
    return None if low is None or high is None else (start + low, start + high)


def _distances(bias: Metric, ideal: float) -> Ends | None:
    ends = _ends(-ideal, bias.ci_low, bias.ci_high)
    if ends is None:
        return None
    nearest = 0.0 if ends[0] <= 0 <= ends[1] else min(map(abs, ends))
    return nearest, max(map(abs, ends))


def front(spots: Sequence[Spot]) -> list[Spot]:
    """Those than which no other has less of one and no more of the other, by rising bias."""
    kept: list[Spot] = []
    for spot in sorted(spots, key=lambda s: (s.bias, s.damage)):
        if not kept or spot.damage < kept[-1].damage:
            kept.append(spot)
    return kept


def as_image(found: Sequence[Panel], form: str, named: Collection[str] = ()) -> bytes:
    """The panels beside each other; the same numbers give the same bytes.

    Args:
        found: At least one.
        form: `png` or `svg`.
        named: Runs of another origin, drawn in another colour and always with their name.
    """
    with mpl.rc_context():
        # The user's own matplotlib settings must not change the picture.
        mpl.rcdefaults()
        # `$` in a name is a dollar, not the start of a formula.
        mpl.rcParams.update({"svg.hashsalt": "unskew", "text.parse_math": False})
        figure = Figure(figsize=(_WIDTH * len(found), _HEIGHT), layout="constrained")
        FigureCanvasAgg(figure)
        every = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, panel in zip(every, found, strict=True):
            _draw(axes, panel, named)
        buffer = io.BytesIO()
        fixed: dict[str, Any] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
        figure.savefig(buffer, format=form, dpi=_DPI, metadata=fixed[form])
    return buffer.getvalue()


def _draw(axes: Axes, panel: Panel, named: Collection[str]) -> None:
    best = front(panel.spots)
    axes.plot([s.bias for s in best], [s.damage for s in best], color="0.6", linewidth=1, zorder=1)
    for spot in panel.spots:
        is_named = spot.name in named
        color = _PLAIN if spot.name == BASE else _NAMED if is_named else _OWN
        axes.plot(spot.bias, spot.damage, "D" if is_named else "o", color=color, zorder=3)
        if spot.bias_ends:
            axes.plot(spot.bias_ends, [spot.damage] * 2, color=color, linewidth=1, zorder=2)
        if spot.damage_ends:
            axes.plot([spot.bias] * 2, spot.damage_ends, color=color, linewidth=1, zorder=2)
        if spot in best or is_named or spot.name == BASE:
            aside = (5, -10 if spot.name == BASE else 4)
            axes.annotate(
                spot.name[-_LONGEST:],
                (spot.bias, spot.damage),
                aside,
                textcoords="offset points",
                fontsize=7,
            )
    axes.set_xlabel(panel.bias_title)
    axes.set_title(panel.damage_title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12, y=0.12)
