"""Perplexity: how surprised is the model by plain text?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unskew.benchmarks._aggregation import DocumentBenchmark, finite, number
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.statistics import Sums
from unskew.types import Answer, LikelihoodRequest, Request, SampleScore, Segment

__all__ = ["Perplexity"]

_NLL, _TOKENS, _BYTES = range(3)
_nll_per_token = pooled(_NLL, _TOKENS)


def _perplexity(sums: Sums) -> NDArray[np.float64]:
    return np.exp(_nll_per_token(sums))


class Perplexity(DocumentBenchmark):
    """Per token, exp(total negative log-likelihood / total tokens), and bits per byte.

    The start token stands in front, so every token of the document is predicted. Token
    perplexities compare models of one tokenizer; bits per byte compare any. The total is over
    documents, so long ones weigh more; the interval draws whole documents. n is documents.

    Args:
        examples: With documents.
        split: Name of the split.
        **options: `categories` (kinds), `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: Nothing to score, a kind without a document, a duplicate id, an empty text.
    """

    name = "perplexity"
    version = "1"
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("perplexity", "ppl", 1, "lower", _perplexity, _TOKENS),
        Quantity(
            "bits_per_byte", "bits/byte", 0, "lower", pooled(_NLL, _BYTES, 1 / math.log(2)), _BYTES
        ),
    )

    def requests(self) -> Iterable[Request]:
        for document in self.items.values():
            yield LikelihoodRequest(document.id, (Segment(document.text),), "prefix")

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, tuple)
        document = self.items[request.id]
        finite(document.id, logprob=answer[0].logprob)
        values = {
            "nll": -answer[0].logprob,
            "num_tokens": float(answer[0].num_tokens),
            "num_bytes": float(len(document.text.encode())),
            "variant": "prefix",
        }
        return SampleScore(document.id, document.kind, "", values)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        return number(score, "nll"), number(score, "num_tokens"), number(score, "num_bytes")
