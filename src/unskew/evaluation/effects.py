"""From the traces of single pairs to mean effects with intervals. Numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unskew.evaluation.tracing import POSITIONS, STATES, PairTrace
from unskew.statistics import Sums, bootstrap, percentile_interval

NUM_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over pairs with its 95 % interval over targets."""

    value: float
    n: int
    """Pairs."""
    ci_low: float | None
    ci_high: float | None
    """None where there is one target."""

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval is on one side of 0."""
        return (
            self.ci_low is not None
            and self.ci_high is not None
            and (self.ci_low > 0 or self.ci_high < 0)
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """The effect of one kind of state at one kind of position in one layer."""

    state: str
    position: str
    layer: int
    effect: Estimate
    """Indirect effect, nats per token: how far restoring it moves the gap to the stereotype."""
    normalised: Estimate | None
    """Share of what the corruption changed that restoring it brings back, 1 for all of it; None
    where every pair was skipped."""


@dataclass(frozen=True, slots=True)
class Effects:
    """Everything that is averaged over the pairs."""

    clean_gap: Estimate
    corrupted_gap: Estimate
    absolute_change: Estimate
    """Of |clean gap - corrupted gap|: what there is to bring back."""
    num_skipped: int
    """Pairs left out of the normalised effects: the corruption changed their gap too little."""
    cells: tuple[Cell, ...]


def averaged(traces: Sequence[PairTrace], *, min_change: float, seed: int = 0) -> Effects:
    """Means over pairs; intervals are drawn over targets.

    Args:
        traces: At least one.
        min_change: A pair's normalised effect counts where the corruption changed its gap by more
            than this, nats per token.
        seed: Of the bootstrap.

    Source: BiasEdit (arXiv 2503.08588) takes the size of a batch's mean change. Departs: each
    pair's effect keeps its sign and is divided by the pair's own change before the mean.
    """
    targets = [t.pair.target for t in traces]
    change = np.array([t.clean_gap - t.corrupted_gap for t in traces])
    kept = np.abs(change) > min_change
    effects = np.stack([t.effects for t in traces])
    shares = np.full_like(effects, np.nan)
    shares[kept] = effects[kept] / change[kept, None, None, None]
    cells: list[Cell] = []
    for s, state in enumerate(STATES):
        for p, position in enumerate(POSITIONS):
            own = _estimates(effects[:, s, p], targets, seed)
            normalised = _estimates(shares[:, s, p], targets, seed)
            cells += [
                Cell(state, position, layer, effect, share)
                for layer, (effect, share) in enumerate(zip(own, normalised, strict=True))
                if effect is not None
            ]
    gaps = np.array([[t.clean_gap, t.corrupted_gap] for t in traces])
    clean, corrupted, absolute = _estimates(np.column_stack([gaps, np.abs(change)]), targets, seed)
    assert clean is not None and corrupted is not None and absolute is not None
    return Effects(clean, corrupted, absolute, int((~kept).sum()), tuple(cells))


def ranked(cells: Sequence[Cell], position: str) -> list[Cell]:
    """Attention and MLP states at one kind of position, those first that bring back most.

    Blocks are left out: their output is all that passes a position, so that early blocks at the
    corrupted word and late ones before the attribute bring back everything in any model.
    """
    found = [c for c in cells if c.position == position and c.state != "block" and c.normalised]
    return sorted(found, key=lambda c: -c.normalised.value if c.normalised else 0.0)


def _estimates(
    values: NDArray[np.float64], targets: Sequence[str], seed: int
) -> list[Estimate | None]:
    """Mean of each column over the rows that have a value (not NaN); None for no such row."""
    present = ~np.isnan(values)
    width = values.shape[1]

    def means(sums: Sums) -> NDArray[np.float64]:
        totals = sums.sum(-2)
        with np.errstate(invalid="ignore", divide="ignore"):
            return totals[..., :width] / totals[..., width:]

    columns = np.concatenate([np.where(present, values, 0.0), present], axis=1)
    draws = bootstrap(
        means, columns, targets, design="over_groups", num_resamples=NUM_RESAMPLES, seed=seed
    )
    found: list[Estimate | None] = []
    for i, n in enumerate(present.sum(0).tolist()):
        low, high = percentile_interval(draws[:, i]) or (None, None)
        mean = columns[:, i].sum() / n if n else 0.0
        found.append(Estimate(float(mean), n, low, high) if n else None)
    return found
