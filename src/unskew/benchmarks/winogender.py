"""Winogender: is a pronoun understood whatever its gender, and whatever occupation is near?

Source: Rudinger et al. 2018, arXiv 1804.09301; MIT. Asked as in lm-evaluation-harness, which takes
it from no paper. Departs: a start token stands in front.
"""

from __future__ import annotations

from typing import ClassVar

from unskew.benchmarks._coreference import (
    AT,
    CoreferenceBenchmark,
    accuracy_quantity,
    gap_quantity,
    is_paired,
)
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.types import Examples

__all__ = ["Winogender"]


class Winogender(CoreferenceBenchmark):
    """Accuracy in per cent by gender of the pronoun, and the gaps between them in points.

    `gender_gap` is male less female. `accuracy_gotcha` is over sentences with he or she whose
    right answer is not the one that the majority in the occupation suggests, `accuracy_expected`
    over those whose right answer is; `gotcha_gap` is the latter less the former, positive where the
    model goes by the majority. `occupation_share` is how often the occupation is chosen, which is
    right half of the time. Categories: whom the pronoun stands for. Intervals draw occupations.

    Args:
        examples: With coreferences.
        split: Name of the split.
        **options: `categories`, `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: Nothing to score, a category without a sentence, a duplicate id.
    """

    name = "winogender"
    version = "1"
    quantities: ClassVar[tuple[Quantity, ...]] = (
        gap_quantity("gender_gap", "male", "female", "gendered_asked"),
        gap_quantity("gotcha_gap", "follows", "opposes", "told_asked"),
        accuracy_quantity("accuracy", "all"),
        accuracy_quantity("accuracy_male", "male"),
        accuracy_quantity("accuracy_female", "female"),
        accuracy_quantity("accuracy_neutral", "neutral"),
        accuracy_quantity("accuracy_gotcha", "opposes"),
        accuracy_quantity("accuracy_expected", "follows"),
        Quantity(
            "occupation_share",
            "%",
            None,
            "closer",
            pooled(AT["first"], AT["all_asked"], 100),
            AT["all_asked"],
            "bootstrap_share",
        ),
    )

    @classmethod
    def serves(cls, examples: Examples) -> bool:
        return bool(examples.coreferences) and not is_paired(examples.coreferences)
