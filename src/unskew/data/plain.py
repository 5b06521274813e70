"""Plain text to learn from or to be held by: a file with one text to a line."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from unskew.errors import DataError
from unskew.types import Dataset, Document


def with_texts(dataset: Dataset, path: str | None) -> Dataset:
    """The data set with a file's lines among the documents of its train split.

    Blank lines are left out. The hash of the data set is then that of both. Without a file it stays
    as it is.

    Raises:
        DataError: The file cannot be read, or holds no text.
    """
    if path is None:
        return dataset
    try:
        content = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}; data.texts wants a UTF-8 file") from error
    texts = tuple(
        Document(f"{Path(path).name}/{number}", line.strip(), "text")
        for number, line in enumerate(content.splitlines(), start=1)
        if line.strip()
    )
    if not texts:
        raise DataError(f"{path} holds no text; give it one to a line")
    train = dataset.splits["train"]
    splits = {**dataset.splits, "train": replace(train, documents=(*train.documents, *texts))}
    both = f"{dataset.sha256}|{hashlib.sha256(content.encode()).hexdigest()}"
    return replace(dataset, splits=splits, sha256=hashlib.sha256(both.encode()).hexdigest())
