"""SST-2, MRPC, CoLA, RTE, FLUTE, AmazonPolarity: has unlearning cost understanding?

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

from unskew.benchmarks._aggregation import AggregatedBenchmark, finite, number
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.data.understanding import prompts
from unskew.errors import BenchmarkError
from unskew.items import Labelled
from unskew.statistics import Sums
from unskew.types import (
    OVERALL,
    Answer,
    Better,
    Examples,
    LikelihoodRequest,
    Request,
    SampleScore,
    Segment,
)

__all__ = ["FLUTE", "MRPC", "RTE", "SST2", "AmazonPolarity", "CoLA", "chosen_sample"]

SAMPLE, SAMPLE_SEED = 200, 42
_COLUMNS = ("item", "right", "tp", "fp", "fn", "tn", "said", "is")
_IS = _COLUMNS.index("is")
_PROMPTS = ("zero_shot", "few_shot")
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


def _f1(hits: _Array, false: _Array, missed: _Array) -> _Array:
    return _or_zero(2 * hits, 2 * hits + false + missed)


def _quantities(offset: int, suffix: str) -> tuple[Quantity, ...]:
    """The metrics of the prompt whose columns begin at `offset`."""
    at = {name: offset + i for i, name in enumerate(_COLUMNS)}

    def counts(sums: Sums) -> list[_Array]:
        return [sums[..., at[name]].sum(-1) for name in ("tp", "fp", "fn", "tn")]

    def f1(sums: Sums) -> _Array:
        tp, fp, fn, _ = counts(sums)
        return _f1(tp, fp, fn)

    def macro_f1(sums: Sums) -> _Array:
        tp, fp, fn, tn = counts(sums)
        return (_f1(tp, fp, fn) + _f1(tn, fn, fp)) / 2

    def mcc(sums: Sums) -> _Array:
        tp, fp, fn, tn = counts(sums)
        spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return _or_zero(tp * tn - fp * fn, spread)

    def share(name: str, column: str, ideal: float | None, better: Better) -> Quantity:
        of = pooled(at[column], at["item"], 100)
        return Quantity(f"{name}{suffix}", "%", ideal, better, of, at["item"], "wilson")

    return (
        share("accuracy", "right", 100, "higher"),
        Quantity(f"f1{suffix}", "fraction", 1, "higher", f1, at["item"]),
        Quantity(f"macro_f1{suffix}", "fraction", 1, "higher", macro_f1, at["item"]),
        Quantity(f"mcc{suffix}", "correlation", 1, "higher", mcc, at["item"]),
        share("said_positive", "said", None, "closer"),
    )


class _Understanding(AggregatedBenchmark[Labelled]):
    """Accuracy, F1 and Matthews correlation of one task with two labels.

    The label with the higher mean log-probability per token after the prompt is the answer; a tie
    goes to the label named first. Start token in front. Metrics that end in `_few_shot` have
    solved examples in front, four or, of RTE, two. Variants: `all`, and where there are more than
    200 items `sample200`, 200 of them drawn with seed 42. `f1` is of the positive class, `macro_f1`
    the mean over both; a ratio of 0 to 0 counts as 0. `said_positive` and `is_positive`: shares of
    answers and of items.

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
    quantities: ClassVar[tuple[Quantity, ...]] = (
        *_quantities(0, ""),
        Quantity("is_positive", "%", None, "closer", pooled(_IS, 0, 100), 0, "wilson"),
        *_quantities(len(_COLUMNS), "_few_shot"),
    )

    def __init__(self, examples: Examples, *, split: str, **options: Any) -> None:
        super().__init__(examples, split=split, **options)
        other = {item.task for item in self.items.values()} - {self.name}
        if other:
            raise BenchmarkError(
                f"{self.name}: the texts are of {', '.join(sorted(other))}; ask for that benchmark"
            )
        self._sample = chosen_sample(self.items)

    @classmethod
    def serves(cls, examples: Examples) -> bool:
        return any(item.task == cls.name for item in examples.labelled)

    def requests(self) -> Iterable[Request]:
        prompt = prompts()[self.name]
        for item in self.items.values():
            asked = [
                prompt.asked(item.fields, with_shots=with_shots) for with_shots in (False, True)
            ]
            segments = (Segment(f"{a} {label}", len(a)) for a in asked for label in prompt.labels)
            yield LikelihoodRequest(item.id, tuple(segments), "prefix")

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, tuple)
        item = self.items[request.id]
        values: dict[str, float | str] = {
            "label": float(item.label),
            "positive": float(prompts()[self.name].positive),
            "sampled": float(item.id in self._sample),
        }
        for prompt, (first, second) in zip(_PROMPTS, (answer[:2], answer[2:]), strict=True):
            means = {f"{prompt}_0": first.mean_logprob, f"{prompt}_1": second.mean_logprob}
            finite(item.id, **means)
            values |= {**means, prompt: float(means[f"{prompt}_1"] > means[f"{prompt}_0"])}
        return SampleScore(item.id, item.category, "", values)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        is_positive = number(score, "label") == number(score, "positive")
        return [value for prompt in _PROMPTS for value in _row(score, prompt, is_positive)]

    @classmethod
    def variants(cls, score: SampleScore) -> tuple[str, ...]:
        return ("all", "sample200") if number(score, "sampled") else ("all",)

    @classmethod
    def categories(cls, score: SampleScore) -> tuple[str, ...]:
        return (OVERALL,) if score.category == cls.name else (OVERALL, score.category)


def _row(score: SampleScore, prompt: str, is_positive: bool) -> list[float]:
    """Values of `_COLUMNS`."""
    said = number(score, prompt) == number(score, "positive")
    flags = (
        True,
        said == is_positive,
        said and is_positive,
        said and not is_positive,
        is_positive and not said,
        not said and not is_positive,
        said,
        is_positive,
    )
    return [float(flag) for flag in flags]


class SST2(_Understanding):
    """Is a sentence of a film review positive? Positive class: positive. See `_Understanding`."""

    name = "sst2"


class MRPC(_Understanding):
    """Do two sentences mean the same? Positive class: yes. See `_Understanding`."""

    name = "mrpc"


class CoLA(_Understanding):
    """Is a sentence acceptable English? Positive class: yes. See `_Understanding`."""

    name = "cola"


class RTE(_Understanding):
    """Does a text entail a sentence? Positive class: it does. See `_Understanding`."""

    name = "rte"


class FLUTE(_Understanding):
    """Does a premise entail a figure of speech? Positive class: it does. See `_Understanding`."""

    name = "flute"


class AmazonPolarity(_Understanding):
    """Is a review positive? Positive class: positive. See `_Understanding`."""

    name = "amazon_polarity"
