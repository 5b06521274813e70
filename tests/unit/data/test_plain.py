"""A file of plain text beside the pairs."""

from __future__ import annotations

import pytest

from tests.fixtures import documents, pairs
from unskew.data.plain import with_texts
from unskew.errors import DataError
from unskew.types import Dataset, Examples

DATA = Dataset("d", {"train": Examples(tuple(pairs()), tuple(documents()))}, sha256="a")


def test_lines_join_the_documents_of_the_train_split(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("He ran.\n\n  She sang. \n", encoding="utf-8")
    found = with_texts(DATA, str(path))
    added = found.splits["train"].documents[len(documents()) :]
    assert [(d.id, d.text) for d in added] == [
        ("texts.txt/1", "He ran."),
        ("texts.txt/3", "She sang."),
    ]
    assert found.splits["train"].pairs == DATA.splits["train"].pairs
    assert found.sha256 != DATA.sha256
    assert with_texts(DATA, None) is DATA


def test_a_file_without_text_is_refused(tmp_path):
    path = tmp_path / "texts.txt"
    with pytest.raises(DataError, match=r"cannot read .*texts.txt.* data.texts wants a UTF-8 file"):
        with_texts(DATA, str(path))
    path.write_text("\n \n", encoding="utf-8")
    with pytest.raises(DataError, match=r"texts.txt holds no text; give it one to a line"):
        with_texts(DATA, str(path))
