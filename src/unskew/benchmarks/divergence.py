"""Divergence: how far has the model moved from a reference on plain text?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from unskew.benchmarks._aggregation import finite, number
from unskew.benchmarks._documents import DocumentBenchmark
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.types import (
    Answer,
    Divergence,
    DivergenceRequest,
    Examples,
    Request,
    SampleScore,
    Segment,
)

__all__ = ["DivergenceFromReference"]

_KL, _TOKENS = range(2)


class DivergenceFromReference(DocumentBenchmark):
    """KL(reference || policy) per token: what the policy loses of the reference's distribution.

    The total is over documents, so long ones weigh more; the interval draws whole documents.

    Args:
        examples: With documents.
        split: Name of the split.
        reference_name: What the reference is, e.g. `base` or `oracle`; becomes the variant.
        **options: `categories` (kinds), `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: Nothing to score, a kind without a document, a duplicate id, an empty text.
    """

    name = "divergence"
    version = "1"
    comparison = "each"
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("kl_reference_policy", "nats/token", 0, "lower", pooled(_KL, _TOKENS), _TOKENS),
    )

    def __init__(
        self, examples: Examples, *, split: str, reference_name: str = "base", **options: Any
    ) -> None:
        super().__init__(examples, split=split, **options)
        self.reference_name = reference_name

    def requests(self) -> Iterable[Request]:
        for document in self.items.values():
            yield DivergenceRequest(document.id, Segment(document.text))

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, Divergence)
        document = self.items[request.id]
        finite(document.id, kl_reference_policy=answer.kl_reference_policy)
        values = {
            "kl_reference_policy": answer.kl_reference_policy,
            "num_tokens": float(answer.num_tokens),
            "variant": self.reference_name,
        }
        return SampleScore(document.id, document.kind, "", values)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        return number(score, "kl_reference_policy"), number(score, "num_tokens")
