"""Who is nearer to the ideal, and by what test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tqdm.auto import tqdm

from unskew.comparison.lineup import Lineup
from unskew.comparison.pairing import Shared
from unskew.errors import DataError
from unskew.paired import Difference, Estimate, holm
from unskew.reports.findings import REPORT
from unskew.types import Better, Metric

__all__ = ["ALPHA", "Comparison", "Key", "Outcome", "contest"]

ALPHA = 0.05
PROGRESS_AFTER_SECONDS = 2.0
_FEWEST_RESAMPLES, _RESAMPLES_PER_COMPARISON = 2000, 80
"""A p-value is no smaller than two in the number of draws; this many leave the smallest one,
times the number of comparisons, at 1/40."""

Key = tuple[str, str, str, str]
"""Benchmark, variant, metric, category."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same items in one metric."""

    benchmark: str
    variant: str
    metric: str
    category: str
    unit: str
    ideal: float | None
    better: Better
    n: int
    first: str
    second: str
    difference: float
    """Second minus first, in the metric's unit."""
    ci_low: float | None
    ci_high: float | None
    p_value: float | None
    """Sign-flip test of the difference."""
    gain: Estimate | None
    """How much nearer to the ideal the second is; None for a metric without an ideal."""
    p_adjusted: float | None = None
    """Holm, over the comparisons of this metric; of the larger p-value of difference and gain."""
    winner: str | None = None

    @property
    def key(self) -> Key:
        """What was compared."""
        return self.benchmark, self.variant, self.metric, self.category

    @property
    def p_judged(self) -> float | None:
        """Two models differ in their distance only if they differ: the larger of both p-values."""
        if self.gain is None or self.gain.p_value is None or self.p_value is None:
            return None
        return max(self.p_value, self.gain.p_value)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All numbers of a comparison of runs."""

    metrics: Mapping[str, Mapping[Key, Metric]]
    """By name of the model, on the shared items."""
    comparisons: tuple[Comparison, ...]
    num_resamples: int
    """The most that were drawn."""

    def of(self, key: Key) -> list[Comparison]:
        """The comparisons of one metric in one category."""
        return [c for c in self.comparisons if c.key == key]

    def champion(self, key: Key, names: Sequence[str]) -> str | None:
        """The one that won against every other, all of which were compared with it."""
        met = self.of(key)
        present = [name for name in names if key in self.metrics[name]]
        for name in present:
            beaten = {c.second if c.first == name else c.first for c in met if c.winner == name}
            if len(present) > 1 and beaten == set(present) - {name}:
                return name
        return None


def contest(
    lineup: Lineup, found: Sequence[Shared], pairs: Sequence[tuple[str, str]], *, seed: int = 0
) -> Outcome:
    """Aggregate the shared items, compare the pairs and correct for their number.

    Args:
        lineup: The models.
        found: Their paired scores.
        pairs: Names of first and second.
        seed: Of bootstrap and sign-flip test.

    Raises:
        DataError: The stored scores of a run do not give the numbers of its record.
    """
    metrics: dict[str, dict[Key, Metric]] = {e.name: {} for e in lineup.shown}
    comparisons: list[Comparison] = []
    most = 0
    bar = tqdm(found, desc="comparing", delay=PROGRESS_AFTER_SECONDS, leave=False)
    for shared in bar:
        for name, scores in shared.scores.items():
            own = shared.benchmark.aggregate(scores, split=REPORT)
            metrics[name].update({_key(m): m for m in own})
        _check_records(lineup, shared, metrics)
        met = [p for p in pairs if set(p) <= shared.scores.keys()]
        if met:
            drawn = _num_resamples(shared, metrics, met)
            most = max(most, drawn)
            comparisons += _compare(shared, metrics, met, drawn, seed)
    return Outcome(metrics, tuple(_corrected(comparisons)), most)


def _key(m: Metric) -> Key:
    return m.benchmark, m.variant, m.metric, m.category


def _check_records(
    lineup: Lineup, shared: Shared, metrics: Mapping[str, Mapping[Key, Metric]]
) -> None:
    """Samples of which nothing was left out must give what the record says."""
    for entrant in lineup.shown:
        if entrant.name not in shared.whole:
            continue
        for row in entrant.record.find(phase=entrant.phase, category=None, split=REPORT):
            key = (row.benchmark, row.variant, row.metric, row.category)
            own = metrics[entrant.name].get(key)
            if row.benchmark != shared.benchmark.name or own is None or own.n != row.n:
                continue
            if abs(own.value - row.value) > 1e-6 * max(1.0, abs(row.value)):
                raise DataError(
                    f"{entrant.folder}: the samples of {shared.label} give {'.'.join(key)} "
                    f"{own.value:.6g} and record.json says {row.value:.6g}; one of them was "
                    "changed, or another version of the benchmark wrote them: evaluate again"
                )


def _num_resamples(
    shared: Shared,
    metrics: Mapping[str, Mapping[Key, Metric]],
    pairs: Sequence[tuple[str, str]],
) -> int:
    keys = {k for name in shared.scores for k in metrics[name] if k[0] == shared.benchmark.name}
    categories = {key[3] for key in keys}
    return max(_FEWEST_RESAMPLES, _RESAMPLES_PER_COMPARISON * len(pairs) * len(categories))


def _compare(
    shared: Shared,
    metrics: Mapping[str, Mapping[Key, Metric]],
    pairs: Sequence[tuple[str, str]],
    num_resamples: int,
    seed: int,
) -> list[Comparison]:
    names = {name for pair in pairs for name in pair}
    scores = {name: own for name, own in shared.scores.items() if name in names}
    drawn = shared.benchmark.differences(scores, pairs, num_resamples=num_resamples, seed=seed)
    return [
        _judged(metrics[pair[0]][shared.benchmark.name, variant, metric, category], pair, found)
        for (variant, category, metric), of_pair in drawn.items()
        for pair, found in of_pair.items()
    ]


def _judged(metric: Metric, pair: tuple[str, str], found: Difference) -> Comparison:
    return Comparison(
        benchmark=metric.benchmark,
        variant=metric.variant,
        metric=metric.metric,
        category=metric.category,
        unit=metric.unit,
        ideal=metric.ideal,
        better=metric.better,
        n=metric.n,
        first=pair[0],
        second=pair[1],
        difference=found.value,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
        p_value=found.p_value,
        gain=_gain(metric.better, found),
    )


def _gain(better: Better, found: Difference) -> Estimate | None:
    if better == "closer":
        return found.gain
    if better == "higher":
        return Estimate(found.value, found.ci_low, found.ci_high, found.p_value)
    ends = (found.ci_low, found.ci_high)
    # 0 - 0 is 0, where -0 would be written as -0.0.
    low, high = (None if end is None else 0 - end for end in reversed(ends))
    return Estimate(0 - found.value, low, high, found.p_value)


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Holm over the comparisons of one metric; overall values and categories are two families."""
    families: dict[tuple[str, str, str, bool], list[int]] = {}
    for place, c in enumerate(comparisons):
        if c.p_judged is not None:
            family = (c.benchmark, c.variant, c.metric, c.category == "overall")
            families.setdefault(family, []).append(place)
    judged = list(comparisons)
    for places in families.values():
        p_values = [p for i in places if (p := comparisons[i].p_judged) is not None]
        for place, p in zip(places, holm(p_values), strict=True):
            c = replace(comparisons[place], p_adjusted=p)
            judged[place] = replace(c, winner=_winner(c))
    return judged


def _winner(c: Comparison) -> str | None:
    gain = c.gain
    if gain is None or gain.ci_low is None or gain.ci_high is None or c.p_adjusted is None:
        return None
    if c.p_adjusted >= ALPHA or gain.ci_low <= 0 <= gain.ci_high:
        return None
    return c.second if gain.value > 0 else c.first
