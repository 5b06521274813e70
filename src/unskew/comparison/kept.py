"""How much of what an artefact did on its base is left where it was carried to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unskew.comparison.lineup import Entrant, Lineup
from unskew.comparison.pairing import Shared, shared_scores
from unskew.errors import DataError
from unskew.reports.findings import AFTER, BEFORE, REPORT
from unskew.reports.record import RunRecord
from unskew.reports.storage import has_samples
from unskew.reports.transfer_record import Effect, Kept
from unskew.statistics import percentile_interval
from unskew.types import OVERALL

__all__ = ["share_kept"]

BENCHMARK = "stereoset"
METRICS: Mapping[str, float | None] = {"ss": 50.0, "mean_gap": None}
"""What an effect is a change of: a metric's distance from a value, or the metric itself."""
NUM_RESAMPLES = 2000

_Resampled = tuple[float, NDArray[np.float64]]
"""A value, and what it is on resampled items, shape (resample,)."""


def share_kept(
    carried: tuple[Path, RunRecord], original: tuple[Path, RunRecord], *, seed: int = 0
) -> list[Kept]:
    """Before less after on the sibling over before less after on the base, on the same items.

    All four measurements are resampled together, clusters as the benchmark's own intervals have
    them. A share has no value where the base's own effect is not told from none: the ratio would be
    of noise.

    Args:
        carried: Folder and record of the transfer.
        original: Of the run that made the artefact.
        seed: Of the bootstrap.

    Raises:
        DataError: The runs measured on other data, share no item, or one has not both phases.
    """
    sha256 = [record.data.sha256 for _, record in (carried, original)]
    if sha256[0] != sha256[1]:
        raise DataError(
            f"{original[0]} measured on other data ({original[1].data.source}); name the same"
        )
    entrants = tuple(
        Entrant(f"{who} {phase}", folder, phase, record)
        for who, (folder, record) in (("sibling", carried), ("base", original))
        for phase in (BEFORE, AFTER)
    )
    for entrant in entrants:
        if not has_samples(entrant.folder, entrant.phase):
            raise DataError(f"{entrant.folder} has no scores of a phase {entrant.phase!r}")
    found, left_out = shared_scores(Lineup(None, entrants, None))
    shared = next((s for s in found if s.label == BENCHMARK), None)
    if shared is None or len(shared.scores) < len(entrants):
        why = "; ".join(f"{o.what}: {o.why}" for o in left_out if o.what == BENCHMARK)
        raise DataError(why or f"not all phases have scores of {BENCHMARK}")
    return _shares(shared, seed)


def _shares(shared: Shared, seed: int) -> list[Kept]:
    drawn = shared.benchmark.resampled(shared.scores, num_resamples=NUM_RESAMPLES, seed=seed)
    first = shared.scores[f"sibling {BEFORE}"]
    counted = {
        (m.variant, m.metric): m
        for m in shared.benchmark.aggregate(first, split=REPORT, num_resamples=0)
        if m.category == OVERALL
    }
    return [
        _kept(counted[variant, metric].n, counted[variant, metric].unit, (variant, metric), of_run)
        for (variant, category, metric), of_run in drawn.items()
        if category == OVERALL and metric in METRICS
    ]


def _kept(n: int, unit: str, place: tuple[str, str], of_run: Mapping[str, _Resampled]) -> Kept:
    variant, metric = place
    here, there = (_effect(of_run, who, METRICS[metric]) for who in ("sibling", "base"))
    base = _told(there)
    share = None
    # Where the base's own effect may be none, a ratio to it would be one of noise.
    ends = [end for end in (base.ci_low, base.ci_high) if end is not None]
    if ends and all(base.value * end > 0 for end in ends):
        divisor = np.where(there[1] == 0, np.nan, there[1])
        share = _told((here[0] / there[0], here[1] / divisor))
    return Kept(
        benchmark=BENCHMARK,
        variant=variant,
        metric=metric,
        unit=unit,
        n=n,
        sibling=_told(here),
        base=base,
        share=share,
    )


def _effect(of_run: Mapping[str, _Resampled], who: str, ideal: float | None) -> _Resampled:
    """Before less after, of the distance from the ideal where there is one."""

    def off(values: float | NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values if ideal is None else np.abs(np.subtract(values, ideal)))

    before, after = of_run[f"{who} {BEFORE}"], of_run[f"{who} {AFTER}"]
    return float(off(before[0]) - off(after[0])), off(before[1]) - off(after[1])


def _told(found: _Resampled) -> Effect:
    low, high = percentile_interval(found[1]) or (None, None)
    return Effect(value=found[0], ci_low=low, ci_high=high)
