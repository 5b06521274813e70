"""Perplexity: how surprised is the model by plain text?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unskew.benchmarks._aggregation import finite, number
from unskew.benchmarks._documents import DocumentBenchmark
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.statistics import Sums
from unskew.types import (
    Answer,
    Examples,
    LikelihoodRequest,
    Request,
    SampleScore,
    Segment,
)

__all__ = ["Perplexity"]

LONGEST_WINDOW = 1024
_NLL, _TOKENS, _WORDS, _BYTES = range(4)
_nll_per_token, _nll_per_word = pooled(_NLL, _TOKENS), pooled(_NLL, _WORDS)


def _perplexity(sums: Sums) -> NDArray[np.float64]:
    return np.exp(_nll_per_token(sums))


def _word_perplexity(sums: Sums) -> NDArray[np.float64]:
    return np.exp(_nll_per_word(sums))


class Perplexity(DocumentBenchmark):
    """Per token and per word, exp(total negative log-likelihood / their number); bits per byte.

    The start token stands in front, so every token of the document is predicted. A document
    longer than the model's context, or than 1024 tokens, goes through windows of that length;
    each of its tokens is counted once. Token perplexities compare models of one tokenizer; word
    perplexities (words: what white space parts) and bits per byte compare any. The total is over
    documents, so long ones weigh more; the interval draws whole documents. n is documents.

    Args:
        examples: With documents.
        split: Name of the split.
        source: Name of the text, which becomes the variant; `prefix` for the data's own.
        **options: `categories` (kinds), `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: Nothing to score, a kind without a document, a duplicate id, an empty text.
    """

    name = "perplexity"
    version = "1"
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("perplexity", "ppl", 1, "lower", _perplexity, _TOKENS),
        Quantity("word_perplexity", "ppl", 1, "lower", _word_perplexity, _WORDS),
        Quantity(
            "bits_per_byte", "bits/byte", 0, "lower", pooled(_NLL, _BYTES, 1 / math.log(2)), _BYTES
        ),
    )

    def __init__(
        self, examples: Examples, *, split: str, source: str = "prefix", **options: Any
    ) -> None:
        super().__init__(examples, split=split, **options)
        self.source = source

    def requests(self) -> Iterable[Request]:
        for document in self.items.values():
            segments = (Segment(document.text),)
            yield LikelihoodRequest(document.id, segments, "rolling", LONGEST_WINDOW)

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, tuple)
        document = self.items[request.id]
        finite(document.id, logprob=answer[0].logprob)
        values = {
            "nll": -answer[0].logprob,
            "num_tokens": float(answer[0].num_tokens),
            "num_words": float(len(document.text.split())),
            "num_bytes": float(len(document.text.encode())),
            "variant": self.source,
        }
        return SampleScore(document.id, document.kind, "", values)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        columns = ("nll", "num_tokens", "num_words", "num_bytes")
        return tuple(number(score, column) for column in columns)
