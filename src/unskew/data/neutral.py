"""Plain English that names no person and no group, to measure damage on."""

from __future__ import annotations

from importlib import resources

from unskew.types import Document


def neutral_documents() -> tuple[Document, ...]:
    """The sentences of `neutral.txt`, one document each; written for this package."""
    text = resources.files("unskew.data").joinpath("neutral.txt").read_text(encoding="utf-8")
    return tuple(
        Document(id=f"neutral-{i}", text=line) for i, line in enumerate(text.splitlines(), start=1)
    )
