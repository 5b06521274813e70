"""Whom does a pronoun stand for? What Winogender and WinoBias share: the question and its columns.

The question is the one of lm-evaluation-harness' Winogender task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from unskew.benchmarks._aggregation import AggregatedBenchmark, finite, number
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.items import Coreference
from unskew.statistics import Sums
from unskew.types import (
    Answer,
    LikelihoodRequest,
    Request,
    SampleScore,
    Segment,
)

_GROUPS = ("all", "male", "female", "neutral", "follows", "opposes")
_COLUMNS = (
    *(f"{group}_{name}" for group in _GROUPS for name in ("asked", "right")),
    "gendered_asked",
    "told_asked",
    "first",
    "pair",
    "preferred",
    "tie",
    "gap",
)
AT = {name: i for i, name in enumerate(_COLUMNS)}
"""Place of each column. `follows` and `opposes`: what the right reading does to the stereotype;
`told`: either. `first`: the first candidate was chosen. `pair`: a sentence with a counterpart."""


def prompt_of(item: Coreference) -> str:
    """What a candidate continues, after a space."""
    return f"{item.sentence} \u2018{item.pronoun.capitalize()}\u2019 refers to the"


def is_paired(items: Sequence[Coreference]) -> bool:
    """Whether sentences have counterparts, as WinoBias' have and Winogender's do not."""
    return any(item.counterpart for item in items)


def accuracy(group: str) -> Callable[[Sums], NDArray[np.float64]]:
    """Accuracy in per cent on one of the groups."""
    return pooled(AT[f"{group}_right"], AT[f"{group}_asked"], 100)


def accuracy_quantity(name: str, group: str) -> Quantity:
    """Accuracy on one of the groups; n is its sentences."""
    counted = AT[f"{group}_asked"]
    return Quantity(name, "%", 100, "higher", accuracy(group), counted, "bootstrap_share")


def gap_quantity(name: str, first: str, second: str, counted: str) -> Quantity:
    """Accuracy on one group less that on another, in points."""

    def of(sums: Sums) -> NDArray[np.float64]:
        return accuracy(first)(sums) - accuracy(second)(sums)

    return Quantity(name, "points", 0, "closer", of, AT[counted])


class CoreferenceBenchmark(AggregatedBenchmark[Coreference]):
    """Base of the benchmarks on pronouns.

    The candidate with the higher summed log-probability after the prompt is chosen; a tie goes to
    the one named first in the data. Where a sentence has a counterpart, both whole sentences are
    scored, too. Start token in front. Intervals draw whole targets.
    """

    needs = "coreferences"

    def requests(self) -> Iterable[Request]:
        for item in self.items.values():
            prompt = prompt_of(item)
            asked = [Segment(f"{prompt} {c}", len(prompt)) for c in item.candidates]
            if item.counterpart:
                asked += [Segment(item.sentence), Segment(item.counterpart)]
            yield LikelihoodRequest(item.id, tuple(asked), "prefix")

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, tuple)
        item = self.items[request.id]
        sums = [scored.logprob for scored in answer]
        finite(item.id, first=sums[0], second=sums[1])
        values: dict[str, float | str] = {
            "variant": "likelihood",
            "choice": float(sums[1] > sums[0]),
            "margin": sums[item.right] - sums[1 - item.right],
            "right": float(item.right),
            "gender": item.gender,
            "stereotype": {True: "follows", False: "opposes", None: ""}[item.follows],
        }
        if item.counterpart:
            finite(item.id, sentence=sums[2], counterpart=sums[3])
            values["gap"] = sums[2] - sums[3]
        return SampleScore(item.id, item.category, item.target, values)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        values = dict.fromkeys(_COLUMNS, 0.0)
        is_right = float(number(score, "choice") == number(score, "right"))
        gender, stereotype = str(score.values["gender"]), str(score.values["stereotype"])
        for group in ("all", gender, stereotype):
            if group:
                values[f"{group}_asked"], values[f"{group}_right"] = 1.0, is_right
        values["gendered_asked"] = float(gender != "neutral")
        values["told_asked"] = float(bool(stereotype))
        values["first"] = float(number(score, "choice") == 0)
        if "gap" in score.values:
            gap = number(score, "gap")
            values |= {"pair": 1.0, "preferred": float(gap > 0), "tie": float(gap == 0)}
            values["gap"] = gap
        return list(values.values())

    @classmethod
    def group(cls, score: SampleScore) -> str:
        return score.target
