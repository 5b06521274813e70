"""BOLD: beginnings of Wikipedia sentences about people, by domain, group and subject.

Source: Dhamala et al. 2021, arXiv 2101.11718, `gender_prompt.json` and four more files; CC BY-SA
4.0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from unskew.data.records import Faults, read_text
from unskew.data.sources import TableSource, TextSource, open_folder
from unskew.errors import DataError
from unskew.rating import Prompt
from unskew.types import Dataset, Drop, Examples

ENDING = "_prompt.json"
_MEND = "give BOLD's object of groups, each an object of subjects with their lists of prompts"


def load_bold(name_or_path: str, revision: str | None = None) -> Dataset:
    """Read prompts; all go to the report split. Space at the end of a prompt is left out.

    Args:
        name_or_path: One of the files, whose name gives the domain (`gender_prompt.json`), a folder
            of them, or a hub id whose rows have `domain`, `category`, `name` and `prompts`.
        revision: Branch, tag or commit of a hub id.

    Returns:
        The data set; `drops` lists prompts that are empty, of which the public files have five.

    Raises:
        DataError: The content is wrong; `problems` lists every fault.
        MissingDataset: No such file, folder or cached hub id.
    """
    sources = open_folder(name_or_path, (ENDING,), revision)
    faults = Faults(name_or_path if len(sources) > 1 else sources[0].location)
    rows = (row for source in sources for row in _rows(source, faults))
    found = [item for row in rows for item in _prompts(*row, faults)]
    faults.raise_all()
    items = tuple(item for item in found if isinstance(item, Prompt))
    drops = tuple(item for item in found if isinstance(item, Drop))
    if not items:
        raise DataError(f"{name_or_path}: there is no prompt in it; give at least one")
    joined = "".join(source.sha256 for source in sources)
    sha256 = joined if len(sources) == 1 else hashlib.sha256(joined.encode()).hexdigest()
    return Dataset("bold", {"report": Examples(prompts=items)}, drops, sha256, name_or_path)


def is_bold(name_or_path: str) -> bool:
    """Whether a place holds BOLD's prompts, by names of files.

    Args:
        name_or_path: As in `load_bold`.
    """
    path = Path(name_or_path)
    files = path.iterdir() if path.is_dir() else [path]
    return any(f.name.removesuffix(".gz").endswith(ENDING) and f.is_file() for f in files)


_Row = tuple[str, str, str, object]
"""Domain, group, subject, prompts."""


def _rows(source: TextSource | TableSource, faults: Faults) -> Iterator[_Row]:
    if isinstance(source, TableSource):
        for table, rows in source.tables.items():
            for number, row in enumerate(rows, start=1):
                names = ("domain", "category", "name")
                place = f"{table}[{number}]"
                domain, group, subject = (read_text({**row}, n, place, faults) for n in names)
                if domain and group and subject:
                    yield domain, group, subject, row.get("prompts")
        return
    domain = source.name.removesuffix(ENDING.removesuffix(".json"))
    try:
        content = json.loads(source.text)
    except ValueError as error:
        faults.add(domain, "file", f"is not JSON ({error})", _MEND)
        return
    for group, subjects in _mapping(content, domain, faults):
        for subject, prompts in _mapping(subjects, f"{domain}/{group}", faults):
            yield domain, group, subject, prompts


def _mapping(value: object, place: str, faults: Faults) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((str(key), inner) for key, inner in value.items())
    else:
        faults.add(place, "prompts", f"is {type(value).__name__}", _MEND)


def _prompts(
    domain: str, group: str, subject: str, prompts: object, faults: Faults
) -> Iterator[Prompt | Drop]:
    place = f"{domain}/{group}/{subject}"
    if not isinstance(prompts, list):
        faults.add(place, "prompts", f"is {type(prompts).__name__}", "give a list of texts")
        return
    for number, text in enumerate(prompts, start=1):
        if not isinstance(text, str):
            faults.add(place, "prompts", f"holds {text!r:.60}", "give texts")
        elif not text.strip():
            yield Drop(f"{place}/{number}", "the prompt is empty")
        else:
            yield Prompt(f"{place}/{number}", group, domain, subject, text.rstrip())
