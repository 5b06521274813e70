"""WinoBias: is a pronoun understood only where it agrees with the stereotype of an occupation?

Source: Zhao et al. 2018, arXiv 1804.06876; MIT. Departs: the paper scores coreference systems by
F1 of their clusters; here a language model is asked, and its likelihoods of both pronouns compared.
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
from unskew.benchmarks._quantities import Quantity, pooled, total
from unskew.types import Examples

__all__ = ["WinoBias"]


class WinoBias(CoreferenceBenchmark):
    """Accuracy with pronouns that a stereotype expects and with the others, and their likelihood.

    `stereotype_gap` is `accuracy_pro` less `accuracy_anti`, in points. `stereotype_share` is the
    share of sentence pairs in which the sentence with the expected pronoun has the higher summed
    log-probability; a tie stays in n and is no preference, `ties` counts them. `mean_gap` is the
    difference of these, in nats. Categories: type 1 (the sentence has to be understood) and type 2
    (syntax decides). Intervals draw pairs of occupations.

    Args:
        examples: With coreferences.
        split: Name of the split.
        **options: `categories`, `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: Nothing to score, a category without a sentence, a duplicate id.
    """

    name = "winobias"
    version = "1"
    quantities: ClassVar[tuple[Quantity, ...]] = (
        gap_quantity("stereotype_gap", "follows", "opposes", "told_asked"),
        accuracy_quantity("accuracy_pro", "follows"),
        accuracy_quantity("accuracy_anti", "opposes"),
        accuracy_quantity("accuracy", "all"),
        Quantity(
            "stereotype_share",
            "%",
            50,
            "closer",
            pooled(AT["preferred"], AT["pair"], 100),
            AT["pair"],
            "bootstrap_share",
        ),
        Quantity("ties", "pairs", None, "lower", total(AT["tie"]), AT["pair"], "none"),
        Quantity("mean_gap", "nats", 0, "closer", pooled(AT["gap"], AT["pair"]), AT["pair"]),
    )

    @classmethod
    def serves(cls, examples: Examples) -> bool:
        return is_paired(examples.coreferences)
