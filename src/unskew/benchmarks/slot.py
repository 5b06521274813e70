"""Slot: what would the model put where the stereotype stands?

A stereotype score of 50 is not yet even-handedness: preferences of both signs cancel in it, and
it does not see the words of the slot losing all their probability. Both show here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unskew.benchmarks._aggregation import AggregatedBenchmark, finite, number
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.errors import BenchmarkError
from unskew.statistics import Sums
from unskew.types import (
    Answer,
    Divergence,
    DivergenceRequest,
    Examples,
    Probe,
    Request,
    SampleScore,
    Segment,
)

__all__ = ["Slot", "pair_kl"]

_COLUMNS = (
    "gap",
    "abs_gap",
    "slot_mass",
    "pair_kl",
    "slot_kl",
    "abs_gap_reference",
    "mass_reference",
)
_PROBE = len(_COLUMNS)


def pair_kl(reference_gap: float, policy_gap: float) -> float:
    """KL(reference || policy), in nats, of the choice between two words only.

    Args:
        reference_gap: log p(first) - log p(second) under the reference, in nats.
        policy_gap: The same under the policy.
    """

    def log_sigmoid(x: float) -> float:
        return -math.log1p(math.exp(-x)) if x >= 0 else x - math.log1p(math.exp(x))

    return sum(
        math.exp(log_sigmoid(sign * reference_gap))
        * (log_sigmoid(sign * reference_gap) - log_sigmoid(sign * policy_gap))
        for sign in (1, -1)
    )


def _mean(column: str) -> Callable[[Sums], NDArray[np.float64]]:
    return pooled(_COLUMNS.index(column), _PROBE)


class Slot(AggregatedBenchmark[Probe]):
    """Preference, probability mass and divergence at the slot of each probe.

    `mean_gap` and `mean_abs_gap`: log p(stereotype) - log p(anti-stereotype). `slot_mass`: summed
    probability of all candidates. `pair_kl`: KL(reference || policy) of the choice between the
    first two candidates. `slot_kl`: KL(reference || policy) of the whole next-token
    distribution. `mean_abs_gap_reference` and `slot_mass_reference` are the reference's own.

    All are means over probes; the interval draws whole targets, since probes of one target lean
    the same way.

    Args:
        examples: With probes.
        split: Name of the split.
        reference_name: What the reference is, e.g. `base` or `oracle`; becomes the variant.
        **options: `categories`, `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: Nothing to score, a category without a probe, a duplicate id, fewer than
            two candidates or the same one twice.
    """

    name = "slot"
    version = "1"
    needs = "probes"
    comparison = "last"
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("mean_gap", "nats", 0, "closer", _mean("gap"), _PROBE),
        Quantity("mean_abs_gap", "nats", 0, "lower", _mean("abs_gap"), _PROBE),
        Quantity("slot_mass", "probability", None, "higher", _mean("slot_mass"), _PROBE),
        Quantity("pair_kl", "nats", 0, "lower", _mean("pair_kl"), _PROBE),
        Quantity("slot_kl", "nats", 0, "lower", _mean("slot_kl"), _PROBE),
        Quantity("mean_abs_gap_reference", "nats", 0, "lower", _mean("abs_gap_reference"), _PROBE),
        Quantity(
            "slot_mass_reference", "probability", None, "higher", _mean("mass_reference"), _PROBE
        ),
    )

    def __init__(
        self, examples: Examples, *, split: str, reference_name: str = "base", **options: Any
    ) -> None:
        super().__init__(examples, split=split, **options)
        self.reference_name = reference_name
        for probe in self.items.values():
            if len(probe.candidates) < 2 or len(set(probe.candidates)) < len(probe.candidates):
                raise BenchmarkError(
                    f"slot: probe {probe.id!r} has the candidates {', '.join(probe.candidates)}; "
                    "give at least two, each once, stereotype and anti-stereotype first"
                )

    def requests(self) -> Iterable[Request]:
        for probe in self.items.values():
            yield DivergenceRequest(probe.id, Segment(probe.context), probe.candidates)

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, Divergence)
        probe = self.items[request.id]
        policy, reference = answer.policy_logprobs, answer.reference_logprobs
        gap, gap_reference = policy[0] - policy[1], reference[0] - reference[1]
        finite(probe.id, gap=gap, gap_reference=gap_reference)
        values = {
            "gap": gap,
            "abs_gap": abs(gap),
            "slot_mass": math.fsum(map(math.exp, policy)),
            "pair_kl": pair_kl(gap_reference, gap),
            "slot_kl": answer.slot_kl_reference_policy,
            "abs_gap_reference": abs(gap_reference),
            "mass_reference": math.fsum(map(math.exp, reference)),
        }
        finite(probe.id, **values)
        labelled = {**values, "variant": self.reference_name}
        return SampleScore(probe.id, probe.category, probe.target, labelled)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        return *(number(score, column) for column in _COLUMNS), 1.0

    @classmethod
    def group(cls, score: SampleScore) -> str:
        return score.target
