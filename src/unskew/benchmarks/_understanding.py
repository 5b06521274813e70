"""What the answers to an understanding task add up to, however the answers were found.

Source: GLUE, Wang et al. 2018, arXiv 1804.07461; FLUTE, Chakrabarty et al. 2022, arXiv 2205.12404;
AmazonPolarity, Zhang et al. 2015, arXiv 1509.01626. F1 on 200 items as in BiasUnlearn, arXiv
2509.25673, Table 4. Departs: that paper names neither split, sampling, prompt nor averaging.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unskew.benchmarks._aggregation import AggregatedBenchmark, number
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.data.understanding import prompts
from unskew.errors import BenchmarkError
from unskew.items import Labelled
from unskew.statistics import Sums
from unskew.types import OVERALL, Better, Examples, SampleScore

SAMPLE, SAMPLE_SEED = 200, 42
PROMPTS = ("zero_shot", "few_shot")
UNPARSED = -1.0
"""In place of a label, of a reply that names none."""
_COLUMNS = ("item", "right", "hits", "other_hits", "said", "said_other", "unparsed", "is")
"""`hits`, `said`, `is`: of the positive class; the `other` ones of the negative class."""
_SUFFIXES = ("", "_few_shot")
_Array = NDArray[np.float64]


def chosen_sample(ids: Iterable[str]) -> frozenset[str]:
    """The 200 of the paper's protocol: drawn without replacement from the sorted ids, seed 42."""
    ordered = sorted(ids)
    if len(ordered) <= SAMPLE:
        return frozenset()
    return frozenset(random.Random(SAMPLE_SEED).sample(ordered, SAMPLE))


def _or_zero(numerator: _Array, denominator: _Array) -> _Array:
    """Ratio, 0 where it is 0 / 0, as scikit-learn has it."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _share(
    prompt: int, name: str, column: str, ideal: float | None, better: Better = "closer"
) -> Quantity:
    """Share of the items of a prompt, in per cent."""
    begin = prompt * len(_COLUMNS)
    of = pooled(begin + _COLUMNS.index(column), begin, 100)
    return Quantity(f"{name}{_SUFFIXES[prompt]}", "%", ideal, better, of, begin, "wilson")


def _quantities(prompt: int) -> tuple[Quantity, ...]:
    """The metrics of one prompt."""
    begin = prompt * len(_COLUMNS)

    def totals(sums: Sums) -> dict[str, _Array]:
        return {name: sums[..., begin + i].sum(-1) for i, name in enumerate(_COLUMNS)}

    def f1(sums: Sums) -> _Array:
        of = totals(sums)
        return _or_zero(2 * of["hits"], of["said"] + of["is"])

    def macro_f1(sums: Sums) -> _Array:
        of = totals(sums)
        other = _or_zero(2 * of["other_hits"], of["said_other"] + of["item"] - of["is"])
        return (f1(sums) + other) / 2

    def mcc(sums: Sums) -> _Array:
        # Of three classes, where replies that name no label are one that no item has.
        of = totals(sums)
        n, is_other = of["item"], of["item"] - of["is"]
        shared = n * of["right"] - of["said"] * of["is"] - of["said_other"] * is_other
        said = n**2 - of["said"] ** 2 - of["said_other"] ** 2 - of["unparsed"] ** 2
        return _or_zero(shared, np.sqrt(said * (n**2 - of["is"] ** 2 - is_other**2)))

    def made(name: str, unit: str, of: Any) -> Quantity:
        return Quantity(f"{name}{_SUFFIXES[prompt]}", unit, 1, "higher", of, begin)

    return (
        _share(prompt, "accuracy", "right", 100, "higher"),
        made("f1", "fraction", f1),
        made("macro_f1", "fraction", macro_f1),
        made("mcc", "correlation", mcc),
        _share(prompt, "said_positive", "said", None),
    )


QUANTITIES = (*_quantities(0), _share(0, "is_positive", "is", None), *_quantities(1))
UNPARSED_SHARES = tuple(
    _share(prompt, "unparsed", "unparsed", 0, "lower") for prompt in range(len(PROMPTS))
)


class UnderstandingBenchmark(AggregatedBenchmark[Labelled]):
    """Base: accuracy, F1 and Matthews correlation of one task with two labels.

    Metrics that end in `_few_shot` have solved examples in front, four or, of RTE, two. `f1` is of
    the positive class, `macro_f1` the mean over both; a ratio of 0 to 0 counts as 0. A reply that
    names no label is wrong: it misses its class and is no false alarm of the other.
    `said_positive` and `is_positive`: shares of answers and of items.

    Args:
        examples: With labelled texts of this task.
        split: Name of the split.
        **options: `categories`, `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: Nothing to score, texts of another task, a category without a text, a
            duplicate id.
    """

    version = "1"
    needs = "labelled"
    headline = "all"
    quantities: ClassVar[tuple[Quantity, ...]] = QUANTITIES
    task: ClassVar[str]
    """What `Labelled.task` is, and whose prompt is asked."""

    def __init__(self, examples: Examples, *, split: str, **options: Any) -> None:
        super().__init__(examples, split=split, **options)
        other = {item.task for item in self.items.values()} - {self.task}
        if other:
            raise BenchmarkError(
                f"{self.name}: the texts are of {', '.join(sorted(other))}; ask for that benchmark"
            )
        self.sample = chosen_sample(self.items)
        self.prompt = prompts()[self.task]

    def scored(self, id: str, item: Labelled, answers: dict[str, float | str]) -> SampleScore:
        """The score of an item.

        Args:
            id: Of the score.
            item: What was asked about.
            answers: Of each prompt that was asked the label, or `UNPARSED`; and what else is kept.
        """
        values: dict[str, float | str] = {
            "label": float(item.label),
            "positive": float(self.prompt.positive),
            "sampled": float(item.id in self.sample),
        }
        return SampleScore(id, item.category, item.id, values | answers)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        return [value for prompt in PROMPTS for value in _row(score, prompt)]

    @classmethod
    def categories(cls, score: SampleScore) -> tuple[str, ...]:
        return (OVERALL,) if score.category == cls.task else (OVERALL, score.category)


def _row(score: SampleScore, prompt: str) -> list[float]:
    """Values of `_COLUMNS`; all 0 where the prompt was not asked."""
    if prompt not in score.values:
        return [0.0] * len(_COLUMNS)
    label, positive, answer = (number(score, name) for name in ("label", "positive", prompt))
    is_right, is_positive, said = answer == label, label == positive, answer == positive
    is_unparsed = answer == UNPARSED
    flags = (
        True,
        is_right,
        is_right and is_positive,
        is_right and not is_positive,
        said,
        not said and not is_unparsed,
        is_unparsed,
        is_positive,
    )
    return [float(flag) for flag in flags]
