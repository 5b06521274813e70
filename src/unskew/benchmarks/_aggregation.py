"""From the scores of single items to metrics with intervals, once for all benchmarks.

A benchmark says what one item contributes (a row of columns), which quantities follow from the
summed columns, and what is drawn again for the interval. Variants, categories, intervals and
paired differences follow from that, from the scores alone: stored samples can be aggregated
again without the data set or the model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from unskew.benchmarks._quantities import Quantity, interval_of, statistic
from unskew.chat import Dialogue
from unskew.embeddings import Association
from unskew.errors import BenchmarkError
from unskew.items import ChoiceQuestion, Coreference, Descriptor, Labelled
from unskew.paired import Difference, paired_differences
from unskew.protocols import Comparison, Needs
from unskew.rating import Prompt
from unskew.registry import nearest
from unskew.statistics import Design, bootstrap, group_sums
from unskew.types import (
    OVERALL,
    Answer,
    Document,
    Examples,
    Metric,
    Pair,
    Probe,
    Question,
    Request,
    SampleScore,
)

AnyItem = (
    Pair
    | Document
    | Question
    | Probe
    | ChoiceQuestion
    | Coreference
    | Labelled
    | Dialogue
    | Association
    | Prompt
    | Descriptor
)
Item = TypeVar("Item", bound=AnyItem)
CROWS_DIRECTIONS = ("stereo", "antistereo")
"""Tags of CrowS-Pairs rows: what the sentence written first showed."""
_Array = NDArray[np.float64]


def finite(id: str, **values: float) -> None:
    """Refuse a NaN or an infinity.

    Raises:
        BenchmarkError: Names the item and the value.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise BenchmarkError(
                f"item {id!r}: {name} is {value}; scores must be finite numbers. "
                "Check the model for NaN weights or a precision that overflows"
            )


def number(score: SampleScore, name: str) -> float:
    """A numeric value of a sample."""
    return float(score.values[name])


@dataclass(frozen=True, slots=True)
class _Cell:
    """The scores of one category of one variant, in columns."""

    variant: str
    category: str
    columns: _Array
    """Of each item."""
    units: _Array
    """Of each cluster, which an interval draws as one."""
    groups: NDArray[Any]
    """Of each cluster."""
    design: Design

    def draws(self, quantities: Sequence[Quantity], num_resamples: int, seed: int) -> _Array:
        """The quantities of resampled clusters, shape (resample, quantity)."""
        return bootstrap(
            statistic(quantities),
            self.units,
            self.groups,
            design=self.design,
            num_resamples=num_resamples,
            seed=seed,
        )


def is_crows_pairs(pairs: Sequence[Pair]) -> bool:
    """Whether these are CrowS-Pairs, whose rows say which way their first sentence points."""
    return all(set(CROWS_DIRECTIONS) & set(pair.tags) for pair in pairs)


class AggregatedBenchmark(ABC, Generic[Item]):
    """Base of the benchmarks: selection of items, aggregation, intervals.

    Args:
        examples: Of one split; the benchmark takes what it `needs`.
        split: Name of that split, written into each metric.
        categories: Keep only these categories (of documents and questions: kinds).
        num_resamples: Of the bootstrap; 0 leaves bootstrap intervals out, for the many
            evaluations during training.
        seed: Of the bootstrap.

    Raises:
        BenchmarkError: Nothing to score, a category without an example, a duplicate id.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    needs: ClassVar[Needs]
    comparison: ClassVar[Comparison] = "none"
    quantities: ClassVar[tuple[Quantity, ...]]
    headline: ClassVar[str] = ""
    """Prefix of the variant whose metrics come first; others follow in alphabetical order."""

    def __init__(
        self,
        examples: Examples,
        *,
        split: str,
        categories: Sequence[str] | None = None,
        num_resamples: int = 1000,
        seed: int = 0,
    ) -> None:
        if num_resamples < 0:
            raise BenchmarkError(
                f"num_resamples {num_resamples}; give 0 (none) or a positive count"
            )
        self.split, self.num_resamples, self.seed = split, num_resamples, seed
        self.items: dict[str, Item] = {}
        for item in self._select(getattr(examples, self.needs), categories):
            if item.id in self.items:
                raise BenchmarkError(
                    f"{self.name}: id {item.id!r} occurs twice; ids must be unique"
                )
            self.items[item.id] = item

    def _select(self, items: Sequence[Item], categories: Sequence[str] | None) -> list[Item]:
        present = sorted({_category(item) for item in items})
        if not items:
            raise BenchmarkError(
                f"{self.name} needs {self.needs}, and the {self.split} split has none; "
                "choose another benchmark or a data set that has them"
            )
        if OVERALL in present:
            raise BenchmarkError(f"{OVERALL!r} is the name of all categories together; rename it")
        if categories is None:
            return list(items)
        for category in categories:
            if category not in present:
                raise BenchmarkError(
                    f"{self.name}: no example of category {category!r} in the {self.split} split"
                    f"{nearest(category, present)} (there are: {', '.join(present)})"
                )
        return [item for item in items if _category(item) in set(categories)]

    @classmethod
    def serves(cls, examples: Examples) -> bool:
        """Whether these examples are meant for this benchmark; what `auto` goes by."""
        return bool(getattr(examples, cls.needs))

    @abstractmethod
    def requests(self) -> Iterable[Request]:
        """All requests; the id of a request is the id of its item."""

    @abstractmethod
    def score(self, request: Request, answer: Answer) -> SampleScore:
        """Judge one answer."""

    @classmethod
    @abstractmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        """What one item adds to each column."""

    @classmethod
    def variants(cls, score: SampleScore) -> tuple[str, ...]:
        """Variants the item counts in."""
        return (str(score.values["variant"]),)

    @classmethod
    def categories(cls, score: SampleScore) -> tuple[str, ...]:
        """Categories the item counts in."""
        return (OVERALL, score.category)

    @classmethod
    def group(cls, score: SampleScore) -> str:
        """Group of the item for averages and resampling; the item itself unless overridden."""
        return score.id

    @classmethod
    def cluster(cls, score: SampleScore) -> str:
        """Items of one cluster are alike and drawn as one; the item itself unless overridden.

        A cluster lies within one group.
        """
        return score.id

    @classmethod
    def design(cls, groups: NDArray[Any]) -> Design:
        """What is drawn again for an interval."""
        return "over_groups"

    def metrics(self, scores: Sequence[SampleScore]) -> list[Metric]:
        """Aggregate, with n and a 95 % interval. Independent of the order of the scores."""
        return self.aggregate(
            scores, split=self.split, num_resamples=self.num_resamples, seed=self.seed
        )

    @classmethod
    def aggregate(
        cls,
        scores: Sequence[SampleScore],
        *,
        split: str,
        num_resamples: int = 1000,
        seed: int = 0,
    ) -> list[Metric]:
        """What `metrics` does, for stored scores whose examples are not at hand."""
        return [
            metric
            for cell in cls._cells(scores)
            for metric in cls._cell_metrics(cell, split, num_resamples, seed)
        ]

    @classmethod
    def differences(
        cls,
        scores: Mapping[str, Sequence[SampleScore]],
        pairs: Sequence[tuple[str, str]],
        *,
        num_resamples: int = 2000,
        seed: int = 0,
    ) -> dict[tuple[str, str, str], dict[tuple[str, str], Difference]]:
        """Second minus first on the same items, by variant, category and metric.

        Args:
            scores: Of each run, by its name.
            pairs: Names of the first and the second run of each comparison.
            num_resamples: Of the bootstrap and of the sign-flip test.
            seed: Of both.

        Raises:
            BenchmarkError: The runs do not score the same items under the same variants.
        """
        places = {name: i for i, name in enumerate(scores)}
        found: dict[tuple[str, str, str], dict[tuple[str, str], Difference]] = {}
        for cells, shared in cls._paired_cells(scores):
            one = cells[0]
            compared = paired_differences(
                statistic(shared),
                [cell.units for cell in cells],
                one.groups,
                [(places[first], places[second]) for first, second in pairs],
                design=one.design,
                ideals=[q.ideal if q.better == "closer" else None for q in shared],
                num_resamples=num_resamples,
                seed=seed,
            )
            for i, quantity in enumerate(shared):
                of_pair = {pair: row[i] for pair, row in zip(pairs, compared, strict=True)}
                if any(math.isnan(d.value) for d in of_pair.values()):
                    continue
                found[one.variant, one.category, quantity.name] = of_pair
        return found

    @classmethod
    def resampled(
        cls,
        scores: Mapping[str, Sequence[SampleScore]],
        *,
        num_resamples: int = 2000,
        seed: int = 0,
    ) -> dict[tuple[str, str, str], dict[str, tuple[float, _Array]]]:
        """Value and resamples of each run, by variant, category and metric, then by its name.

        A resample is of the same items in all runs, so what is made of several of them is paired.

        Args:
            scores: Of each run, by its name.
            num_resamples: Of the bootstrap.
            seed: Of it.

        Raises:
            BenchmarkError: As in `differences`.
        """
        found: dict[tuple[str, str, str], dict[str, tuple[float, _Array]]] = {}
        for cells, shared in cls._paired_cells(scores):
            for name, cell in zip(scores, cells, strict=True):
                values = statistic(shared)(group_sums(cell.units, cell.groups)).tolist()
                draws = cell.draws(shared, num_resamples, seed)
                for i, quantity in enumerate(shared):
                    key = (cell.variant, cell.category, quantity.name)
                    found.setdefault(key, {})[name] = values[i], draws[:, i]
        return found

    @classmethod
    def _paired_cells(
        cls, scores: Mapping[str, Sequence[SampleScore]]
    ) -> Iterator[tuple[tuple[_Cell, ...], list[Quantity]]]:
        """The same cell of each run, and the quantities that all of them have."""
        keys = [[(s.id, cls.variants(s)) for s in _by_id(run)] for run in scores.values()]
        if any(key != keys[0] for key in keys[1:]):
            raise BenchmarkError(
                f"{cls.name}: the runs score different items or variants "
                f"({' and '.join(str(len(key)) for key in keys)} scores); evaluate all on the "
                "same data with the same options"
            )
        for cells in zip(*(cls._cells(run) for run in scores.values()), strict=True):
            yield cells, [q for q in cls.quantities if all(_count(q, cell) for cell in cells)]

    @classmethod
    def _cells(cls, scores: Sequence[SampleScore]) -> Iterator[_Cell]:
        placed: dict[tuple[str, str], list[SampleScore]] = {}
        for score in _by_id(scores):
            for variant in cls.variants(score):
                for category in cls.categories(score):
                    placed.setdefault((variant, category), []).append(score)

        def rank(key: tuple[str, str]) -> tuple[bool, str, bool, str]:
            variant, category = key
            return not variant.startswith(cls.headline), variant, category != OVERALL, category

        for variant, category in sorted(placed, key=rank):
            chosen = placed[variant, category]
            columns = np.array([cls.row(s) for s in chosen], dtype=np.float64)
            clusters = np.array([cls.cluster(s) for s in chosen])
            first = np.unique(clusters, return_index=True)[1]
            groups = np.array([cls.group(chosen[i]) for i in first])
            units = group_sums(columns, clusters)
            yield _Cell(variant, category, columns, units, groups, cls.design(groups))

    @classmethod
    def _cell_metrics(
        cls, cell: _Cell, split: str, num_resamples: int, seed: int
    ) -> Iterator[Metric]:
        present = [q for q in cls.quantities if _count(q, cell)]
        drawn = [q for q in present if q.interval.startswith("bootstrap")]
        draws = cell.draws(drawn, num_resamples if drawn else 0, seed)
        draws_of = {q.name: draws[:, i] for i, q in enumerate(drawn)}
        values = statistic(present)(group_sums(cell.units, cell.groups))
        for quantity, value in zip(present, values.tolist(), strict=True):
            if math.isnan(value):
                continue
            n = _count(quantity, cell)
            low, high = interval_of(quantity, value, n, draws_of.get(quantity.name)) or (None, None)
            yield Metric(
                benchmark=cls.name,
                variant=cell.variant,
                split=split,
                category=cell.category,
                metric=quantity.name,
                value=value,
                n=n,
                ci_low=low,
                ci_high=high,
                ideal=quantity.ideal,
                better=quantity.better,
                unit=quantity.unit,
            )


def _category(item: AnyItem) -> str:
    return item.kind if isinstance(item, Document | Question) else item.category


def _by_id(scores: Iterable[SampleScore]) -> list[SampleScore]:
    return sorted(scores, key=lambda score: score.id)


def _count(quantity: Quantity, cell: _Cell) -> int:
    return int(np.count_nonzero(cell.columns[:, quantity.counted] > 0))
