"""SEAT and WEAT: two sets of targets and two of attributes, one JSON object a test.

Source: May et al. 2019, arXiv 1903.10561, in the files of bias-bench (`sent-weat6.jsonl`, ...);
CC BY-NC 4.0.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unskew.data.records import Faults, read_optional_text
from unskew.data.sources import TableSource, TextSource, beginning, open_folder
from unskew.embeddings import Association
from unskew.errors import DataError
from unskew.types import Dataset, Examples

SUFFIXES = (".jsonl", ".json")
SETS = ("targ1", "targ2", "attr1", "attr2")
OTHER = "other"
_TYPES: Mapping[str, tuple[str, ...]] = {
    "gender": ("weat6", "weat7", "weat8", "heilman_double_bind"),
    "race": ("weat3", "weat4", "weat5", "angry_black_woman_stereotype"),
    "religion": (r"religion\d",),
    "health": ("weat9",),
    "age": ("weat10",),
}
"""How the names of a bias type's tests begin, after `sent-`. Flowers and insects, instruments and
weapons (`weat1`, `weat2`) are about no group."""
_LOOKED_AT = 400
"""Characters of a file that tell whether it is a test."""


def load_seat(name_or_path: str, revision: str | None = None) -> Dataset:
    """Read tests of association; all go to the report split.

    A test's name is that of its file, or its `name`; its category is its `category`, or for the
    published tests their bias type, else `other`.

    Args:
        name_or_path: A file, a folder of them, or a hub id. A file holds one JSON object with
            `targ1`, `targ2`, `attr1` and `attr2`, each a list of texts or `{"examples": [...]}`, or
            lines of such objects.
        revision: Branch, tag or commit of a hub id.

    Raises:
        DataError: The content is wrong; `problems` lists every fault.
        MissingDataset: No such file, folder or cached hub id.
    """
    sources = open_folder(name_or_path, SUFFIXES, revision)
    faults = Faults(name_or_path if len(sources) > 1 else sources[0].location)
    items = tuple(
        item
        for source in sources
        for name, row, value in _rows(source, faults)
        if (item := _test(value, name, row, faults)) is not None
    )
    faults.raise_all()
    if not items:
        raise DataError(f"{name_or_path}: there is no test in it; give at least one")
    name = Path(name_or_path).name if Path(name_or_path).is_dir() else sources[0].name
    joined = "".join(source.sha256 for source in sources)
    sha256 = joined if len(sources) == 1 else hashlib.sha256(joined.encode()).hexdigest()
    return Dataset(name, {"report": Examples(associations=items)}, (), sha256, name_or_path)


def is_seat(name_or_path: str) -> bool:
    """Whether a place holds such tests: the file, or the first of a folder, begins with `targ1`.

    Args:
        name_or_path: As in `load_seat`.
    """
    path = Path(name_or_path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    named = (f for f in files if f.name.removesuffix(".gz").endswith(SUFFIXES) and f.is_file())
    first = next(named, None)
    return first is not None and f'"{SETS[0]}"' in beginning(first, _LOOKED_AT)


def _rows(source: TextSource | TableSource, faults: Faults) -> Iterator[tuple[str, str, object]]:
    """Name, place and value of each test."""
    if isinstance(source, TableSource):
        for table, rows in source.tables.items():
            yield from ((f"{table}-{i}", f"{table}[{i}]", row) for i, row in enumerate(rows, 1))
        return
    try:
        yield source.name, source.name, json.loads(source.text)
        return
    except ValueError as error:
        lines = [line for line in source.text.split("\n") if line.strip()]
        whole = error
    for number, line in enumerate(lines, start=1):
        try:
            yield f"{source.name}-{number}", f"{source.name}:{number}", json.loads(line)
        except ValueError:
            faults.add(source.name, "file", f"is not JSON ({whole})", "give one JSON object a test")
            return


def _test(value: object, name: str, row: str, faults: Faults) -> Association | None:
    if not isinstance(value, Mapping):
        faults.add(
            row, "test", f"is {type(value).__name__}", f"give an object of {', '.join(SETS)}"
        )
        return None
    before = len(faults.lines)
    name = read_optional_text(value, "name", row, faults) or name
    category = read_optional_text(value, "category", row, faults) or _type_of(name)
    faults.is_new_id(name, row, "name")
    sets = [_texts(value, field, row, faults) for field in SETS]
    if len(faults.lines) > before:
        return None
    return Association(name, category, (sets[0], sets[1]), (sets[2], sets[3]))


def _texts(value: Mapping[Any, object], field: str, row: str, faults: Faults) -> tuple[str, ...]:
    found = value.get(field)
    texts = found.get("examples") if isinstance(found, Mapping) else found
    if not isinstance(texts, list) or not texts:
        shown = "is missing" if field not in value else f"is {found!r:.60}"
        faults.add(row, field, shown, 'give texts, as a list or as {"examples": [...]}')
        return ()
    wrong = next((t for t in texts if not isinstance(t, str) or not t.strip()), None)
    if wrong is not None:
        faults.add(row, field, f"holds {wrong!r:.60}", "give texts that are not empty")
        return ()
    return tuple(texts)


def _type_of(name: str) -> str:
    bare = name.removeprefix("sent-")
    for category, starts in _TYPES.items():
        if re.match(rf"(?:{'|'.join(starts)})(?!\d)", bare):
            return category
    return OTHER
