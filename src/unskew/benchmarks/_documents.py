"""Base of the benchmarks on plain text."""

from __future__ import annotations

from typing import Any

from unskew.benchmarks._aggregation import AggregatedBenchmark
from unskew.errors import BenchmarkError
from unskew.types import Document, Examples


class DocumentBenchmark(AggregatedBenchmark[Document]):
    """Base of the benchmarks on plain text.

    Raises:
        BenchmarkError: A document is empty.
    """

    needs = "documents"

    def __init__(self, examples: Examples, *, split: str, **options: Any) -> None:
        super().__init__(examples, split=split, **options)
        for document in self.items.values():
            if not document.text.strip():
                raise BenchmarkError(f"{self.name}: document {document.id!r} is empty; remove it")
