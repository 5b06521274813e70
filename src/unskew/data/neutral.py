"""Plain English that names no person and no group, to measure damage on."""

from __future__ import annotations

import hashlib
from importlib import resources

from unskew.types import Dataset, Document, Examples


def neutral_documents() -> tuple[Document, ...]:
    """The sentences of `neutral.txt`, one document each; written for this package."""
    text = resources.files("unskew.data").joinpath("neutral.txt").read_text(encoding="utf-8")
    return tuple(
        Document(id=f"neutral-{i}", text=line) for i, line in enumerate(text.splitlines(), start=1)
    )


def neutral_dataset() -> Dataset:
    """The sentences alone, for where only benchmarks with data of their own are asked for."""
    documents = neutral_documents()
    sha256 = hashlib.sha256("\n".join(d.text for d in documents).encode()).hexdigest()
    splits = {"report": Examples(documents=documents)}
    return Dataset("neutral", splits, (), sha256, "the package's neutral sentences")
