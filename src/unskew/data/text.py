"""Plain text to documents: WikiText-2, own files, rows of a data set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from unskew.data.sources import TableSource, TextSource, joint_sha256, open_folder
from unskew.errors import DataError
from unskew.types import Dataset, Document, Examples

SUFFIXES = (".txt",)
PIECE_CHARACTERS = 5000
"""Length, about a thousand words, of the pieces that a text without headings is cut into."""
_TITLE = re.compile(r"(?:\A|\n)[ \t]*\n = (?!=)[^\n]*(?<!=) = ?\n[ \t]*(?=\n)")
_COLUMNS = ("text", "page")


def load_text(name_or_path: str, revision: str | None = None) -> Dataset:
    """Read plain text as documents of the report split.

    A text with WikiText's headings (` = Title = ` between empty lines) is cut into its articles.
    Any other is cut at line ends into pieces of about 5000 characters, so that an interval has
    something to draw; each piece is then read afresh. Rows of a table or of JSON lines, with a
    column `text` or `page`, are a document each, unless they are the lines of a WikiText.

    Args:
        name_or_path: A file, a gzipped file, a folder of `.txt` files or a hub id; of a hub id
            the split `test` is read, or its only one.
        revision: Branch, tag or commit of a hub id.

    Raises:
        DataError: Nothing to read, or no column of text.

    Source: Merity et al. 2016, arXiv 1609.07843 (WikiText-2; CC BY-SA 3.0).
    """
    sources = open_folder(name_or_path, SUFFIXES, revision)
    documents = tuple(d for source in sources for d in _documents(source))
    if not documents:
        raise DataError(f"{name_or_path}: there is no text in it; give a file with some")
    name = Path(name_or_path).name if Path(name_or_path).is_dir() else sources[0].name
    sha256 = joint_sha256(sources)
    return Dataset(name, {"report": Examples(documents=documents)}, (), sha256, name_or_path)


def _documents(source: TextSource | TableSource) -> Iterator[Document]:
    kind = source.name.rpartition("/")[2]
    for number, text in enumerate(_texts(source), start=1):
        yield Document(f"{kind}-{number:05}", text, kind)


def _texts(source: TextSource | TableSource) -> list[str]:
    rows = _rows(source)
    if rows is None:
        assert isinstance(source, TextSource)
        return _articles(source.text) or _pieces(source.text)
    return _articles("\n".join(row.rstrip("\n") for row in rows)) or [r for r in rows if r.strip()]


def _rows(source: TextSource | TableSource) -> list[str] | None:
    """Texts of the rows; None for a file that is no table."""
    if isinstance(source, TableSource):
        tables = source.tables
        chosen = "test" if "test" in tables else next(iter(tables))
        if chosen != "test" and len(tables) > 1:
            raise DataError(
                f"{source.location}: has the splits {', '.join(tables)} and none named test; "
                "name a file or folder with the text alone"
            )
        return [_text(row, f"{source.location}:{i}") for i, row in enumerate(tables[chosen], 1)]
    lines = [line for line in source.text.split("\n") if line.strip()]
    try:
        values = [json.loads(line) for line in lines]
    except ValueError:
        return None
    if not all(isinstance(value, dict) for value in values):
        return None
    return [_text(value, f"{source.location}:{i}") for i, value in enumerate(values, 1)]


def _text(row: object, where: str) -> str:
    assert isinstance(row, dict)
    found = next((row[column] for column in _COLUMNS if column in row), None)
    if not isinstance(found, str):
        raise DataError(
            f"{where}: no text in column {' or '.join(_COLUMNS)} (the row has: "
            f"{', '.join(map(str, row))}); rename the column or give a plain .txt file"
        )
    return found


def _articles(text: str) -> list[str]:
    """Articles of a WikiText, each with its heading; none where there is no heading."""
    starts = [match.start() for match in _TITLE.finditer(text)]
    if not starts:
        return []
    cuts = [0, *starts[1:], len(text)]
    return [text[begin:end].strip("\n") for begin, end in pairwise(cuts)]


def _pieces(text: str) -> list[str]:
    """Neighbouring lines together, up to `PIECE_CHARACTERS`; a longer line stands alone."""
    pieces: list[list[str]] = [[]]
    length = 0
    for line in text.splitlines(keepends=True):
        if pieces[-1] and length + len(line) > PIECE_CHARACTERS:
            pieces.append([])
            length = 0
        pieces[-1].append(line)
        length += len(line)
    return [text for text in map("".join, pieces) if text.strip()]
