"""SEAT and WEAT: do a model's vectors hold that some groups go with some attributes?

Source: Caliskan et al. 2017, arXiv 1608.07187 (WEAT); May et al. 2019, arXiv 1903.10561 (SEAT).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unskew.benchmarks._aggregation import AggregatedBenchmark, finite, number
from unskew.benchmarks._permutation import NUM_DRAWS, Dealt, deal_again
from unskew.benchmarks._quantities import Quantity
from unskew.embeddings import Association, Embedding, EmbeddingRequest, Pooling
from unskew.errors import BenchmarkError
from unskew.paired import holm
from unskew.statistics import Design, Sums, percentile_interval, wilson
from unskew.types import OVERALL, Answer, Examples, Metric, Request, SampleScore

__all__ = ["SEAT", "association"]

_POOLINGS: tuple[Pooling, ...] = ("last", "mean")
_SIDES = ("X", "Y")
_ALPHA = 0.05
_NO_SPREAD = 1e-7
"""Standard deviation of associations below which they differ by the rounding of float32 only."""
_ONE, _S, _S_SQUARED = range(3)
_Array = NDArray[np.float64]


def association(answer: Embedding) -> float:
    """Mean cosine with the first set less that with the second.

    Source: Caliskan et al. 2017, s(w, A, B).
    """
    word = answer.vector.astype(np.float64)
    first, second = (_cosines(word, vectors.astype(np.float64)).mean() for vectors in answer.sets)
    return float(first - second)


def _cosines(word: _Array, vectors: _Array) -> _Array:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors) * (word @ word))
    return vectors @ word / lengths


def _spread(count: _Array, total: _Array, squares: _Array) -> _Array:
    """Standard deviation (ddof 1) from sums; 0 where it is rounding."""
    centred = squares - total * total / count
    found = np.sqrt(np.maximum(centred, 0.0) / np.maximum(count - 1, 1))
    return np.where(found > _NO_SPREAD, found, 0.0)


def _effects(sums: Sums) -> _Array:
    """Effect size of each test, (..., test and side, column) to (..., test)."""
    # Labels of groups put the sides of a test next to one another.
    sides = sums.reshape(*sums.shape[:-2], -1, 2, sums.shape[-1])
    means = sides[..., _S] / sides[..., _ONE]
    both = sides.sum(-2)
    spread = _spread(both[..., _ONE], both[..., _S], both[..., _S_SQUARED])
    gap = means[..., 0] - means[..., 1]
    return np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 0)


def _mean_effect(sums: Sums) -> _Array:
    return _effects(sums).mean(-1)


def _mean_abs_effect(sums: Sums) -> _Array:
    return np.abs(_effects(sums)).mean(-1)


class SEAT(AggregatedBenchmark[Association]):
    """Association of two sets of targets X, Y with two sets of attributes A, B, by cosine.

    With s the `association` of a target, `effect_size` is the mean of s over X less that over Y,
    over the standard deviation (ddof 1) of s over both: positive where X goes with A and Y with B.
    `abs_effect_size` is its absolute value. Both are means over tests for a bias type and overall.
    `p_value` is one-sided, by dealing the targets to X and Y again; `significant_tests` are those
    below .05 after Holm's correction. `abs_effect_size_by_chance` is the mean of `abs_effect_size`
    over those deals and the range of 95 % of them: noise alone gives no 0.

    Variants: `sentences` or `words`, as the targets are, and the pooling: `last` token, or `mean`
    over tokens. Categories: bias types, and tests by name. n is targets, of `significant_tests`
    tests. Intervals draw targets inside each set.

    Args:
        examples: With associations.
        split: Name of the split.
        **options: `categories` (bias types), `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: No test, a bias type without one, a duplicate id, an empty set, a test that
            has the name of a bias type.
    """

    name = "seat"
    version = "1"
    needs = "associations"
    headline = "sentences-last"
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("abs_effect_size", "sd", 0, "lower", _mean_abs_effect, interval="bootstrap_error"),
        Quantity("effect_size", "sd", 0, "closer", _mean_effect),
    )

    def __init__(self, examples: Examples, *, split: str, **options: Any) -> None:
        super().__init__(examples, split=split, **options)
        types = {item.category for item in self.items.values()} | {OVERALL}
        for item in self.items.values():
            if item.id in types:
                raise BenchmarkError(
                    f"seat: the test {item.id!r} has the name of a category; rename it"
                )
            if not all((*item.targets, *item.attributes)):
                raise BenchmarkError(f"seat: a set of {item.id!r} is empty; give it a text")

    def requests(self) -> Iterable[Request]:
        for item in self.items.values():
            for pooling in _POOLINGS:
                for side, texts in zip(_SIDES, item.targets, strict=True):
                    for place, text in enumerate(texts, start=1):
                        key = f"{item.id}|{pooling}|{side}|{place}"
                        yield EmbeddingRequest(key, text, item.attributes, pooling)

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(request, EmbeddingRequest)
        assert isinstance(answer, Embedding)
        test, _, side, _ = request.id.rsplit("|", 3)
        found = association(answer)
        finite(request.id, association=found)
        values = {
            "variant": f"{_form(self.items[test])}-{request.pooling}",
            "text": request.text,
            "side": side,
            "association": found,
        }
        return SampleScore(request.id, self.items[test].category, test, values)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        found = number(score, "association")
        return 1.0, found, found * found

    @classmethod
    def categories(cls, score: SampleScore) -> tuple[str, ...]:
        return OVERALL, score.category, score.target

    @classmethod
    def group(cls, score: SampleScore) -> str:
        # A tab sorts before whatever a name may go on with.
        return f"{score.target}\t{score.values['side']}"

    @classmethod
    def design(cls, groups: NDArray[Any]) -> Design:
        return "within_groups"

    @classmethod
    def aggregate(
        cls,
        scores: Sequence[SampleScore],
        *,
        split: str,
        num_resamples: int = 1000,
        seed: int = 0,
    ) -> list[Metric]:
        tests = _tests(scores, seed)
        found = super().aggregate(scores, split=split, num_resamples=num_resamples, seed=seed)
        cells: dict[tuple[str, str], list[_Test]] = {}
        for (variant, name), test in tests.items():
            for category in (OVERALL, test.category, name):
                cells.setdefault((variant, category), []).append(test)
        for (variant, category), of_cell in cells.items():
            rows = [*_by_chance(of_cell)]
            rows += _p_value(of_cell[0]) if (variant, category) in tests else _significant(of_cell)
            found += [
                Metric(
                    cls.name,
                    variant,
                    split,
                    category,
                    metric,
                    value,
                    n,
                    low,
                    high,
                    ideal,
                    "lower",
                    unit,
                )
                for metric, value, n, (low, high), ideal, unit in rows
            ]
        return found


@dataclass(frozen=True, slots=True)
class _Test:
    """One test of one variant, its targets dealt again."""

    category: str
    num_targets: int
    dealt: Dealt
    abs_effects: _Array
    """Absolute effect size of `NUM_DRAWS` deals."""


def _tests(scores: Sequence[SampleScore], seed: int) -> dict[tuple[str, str], _Test]:
    """By variant and name, sorted. Independent of what other tests there are.

    Raises:
        BenchmarkError: A test has no target on one side.
    """
    sides: dict[tuple[str, str], dict[str, list[SampleScore]]] = {}
    for score in sorted(scores, key=lambda score: score.id):
        key = (str(score.values["variant"]), score.target)
        sides.setdefault(key, {}).setdefault(str(score.values["side"]), []).append(score)
    found: dict[tuple[str, str], _Test] = {}
    for (variant, name), both in sorted(sides.items()):
        if set(both) != set(_SIDES):
            raise BenchmarkError(
                f"seat: {name!r} has scores of {', '.join(both)} only; it needs both"
            )
        first, second = (np.array([number(s, "association") for s in both[x]]) for x in _SIDES)
        rng_seed = zlib.crc32(f"{seed}|{name}".encode())
        dealt = deal_again(first, second, rng_seed)
        values = np.concatenate([first, second])
        spread = float(
            _spread(*(np.asarray(x) for x in (len(values), values.sum(), values @ values)))
        )
        effects = np.abs(dealt.differences) / spread if spread else np.zeros(len(dealt.differences))
        if len(effects) != NUM_DRAWS:
            effects = np.random.default_rng(rng_seed).choice(effects, NUM_DRAWS)
        found[variant, name] = _Test(both[_SIDES[0]][0].category, len(values), dealt, effects)
    return found


_Row = tuple[str, float, int, tuple[float | None, float | None], float | None, str]
"""Metric, value, n, interval, ideal, unit."""


def _by_chance(tests: Sequence[_Test]) -> Iterator[_Row]:
    means = np.mean([test.abs_effects for test in tests], axis=0)
    interval = percentile_interval(means) or (None, None)
    count = sum(test.num_targets for test in tests)
    yield "abs_effect_size_by_chance", float(means.mean()), count, interval, None, "sd"


def _p_value(test: _Test) -> Iterator[_Row]:
    interval = test.dealt.interval or (None, None)
    yield "p_value", test.dealt.p_value, test.num_targets, interval, None, "p"


def _significant(tests: Sequence[_Test]) -> Iterator[_Row]:
    below = sum(p < _ALPHA for p in holm([test.dealt.p_value for test in tests]))
    low, high = wilson(below, len(tests)) or (0.0, 1.0)
    share = 100 * below / len(tests)
    yield "significant_tests", share, len(tests), (100 * low, 100 * high), 0.0, "%"


def _form(item: Association) -> str:
    """`sentences` where every target ends like one."""
    is_sentence = all(
        text.rstrip().endswith((".", "!", "?")) for side in item.targets for text in side
    )
    return "sentences" if is_sentence else "words"
