"""FairMT-Bench: five turns of a user that lead a model towards a stereotype.

Source: Fan et al. 2024, arXiv 2410.19317, JSON lists for each task and group; no licence stated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unskew.chat import Dialogue
from unskew.data.json_rows import read_json
from unskew.data.records import Faults, read_text
from unskew.data.sources import TableSource, TextSource, joint_sha256, open_folder
from unskew.errors import DataError
from unskew.registry import nearest
from unskew.types import Dataset, Examples

TASKS = (
    "Anaphora_Ellipsis",
    "Fixed_Format",
    "Interference_Misinformation",
    "Jailbreak_Tips",
    "Negative_Feedback",
    "Scattered_Questions",
)
GROUPS = ("age", "appearance", "disable", "gender", "race", "religion")
MIXED = "mixed"
"""Category of the dialogues of FairMT-1K: its files hold all groups and do not say which."""
TURNS = 5
SUFFIXES = (".json",)
DEPTH = 4
"""Folders from a copy of the repository down to FairMT-10K's files."""
_BY_GROUP = "prompt_"
_NAMED, _NUMBERED = "{}-turn Conv", "{}"
_TURN = re.compile(r"\d+(-turn Conv)?")


@dataclass(frozen=True, slots=True)
class _Row:
    """A dialogue as it was read, and where it stands."""

    task: str
    group: str
    location: str
    row: str
    value: object


def load_fairmt(name_or_path: str, revision: str | None = None) -> Dataset:
    """Read FairMT-10K or FairMT-1K; all goes to the report split.

    The category is the group: of FairMT-10K it stands in the name of the file, of FairMT-1K it is
    not known.

    Args:
        name_or_path: `TASK/prompt_GROUP.json` of FairMT-10K or `TASK.json` of FairMT-1K, also
            `.gz`; a folder of either, e.g. `FairMT_10K/Stereotype`; or a hub id or `datasets`
            folder whose tables are the tasks, or whose rows name `task` and, if they know it,
            `group`.
        revision: Branch, tag or commit of a hub id.

    Raises:
        DataError: The content is wrong, or the folder holds more than one data set; `problems`
            lists every fault.
        MissingDataset: No such file, folder or cached hub id.
    """
    sources = open_folder(name_or_path, SUFFIXES, revision, depth=DEPTH)
    _refuse_several(name_or_path, sources)
    faults = Faults(name_or_path)
    rows = [found for source in sources for found in _rows(source, faults)]
    items = list(_dialogues(rows, faults))
    faults.raise_all()
    if not items:
        raise DataError(f"{name_or_path}: there is no dialogue in it; give at least one row")
    name = Path(name_or_path).name if Path(name_or_path).is_dir() else sources[0].name
    examples = {"report": Examples(dialogues=tuple(items))}
    return Dataset(name, examples, (), joint_sha256(sources), name_or_path)


def is_fairmt(name_or_path: str) -> bool:
    """Whether a place holds files of FairMT-Bench, by their names."""
    path = Path(name_or_path)
    if not path.is_dir():
        return path.is_file() and _is_named_so(path)
    levels = ("/".join("*" * level) for level in range(1, DEPTH + 1))
    return any(_is_named_so(found) for level in levels for found in path.glob(f"{level}.json*"))


def _is_named_so(path: Path) -> bool:
    task, group = _task_and_group(path)
    return task in TASKS and group in (*GROUPS, MIXED)


def _task_and_group(path: Path) -> tuple[str, str]:
    """What the names of a file and its folder say, right or wrong."""
    stem = path.name.removesuffix(".gz").removesuffix(".json")
    if stem.startswith(_BY_GROUP):
        return path.resolve().parent.name, stem.removeprefix(_BY_GROUP)
    return stem, MIXED


def _refuse_several(place: str, sources: list[TextSource | TableSource]) -> None:
    """A dialogue counts once: FairMT-1K is drawn from 10K, and toxicity is another measurement."""
    files = [Path(s.location) for s in sources if isinstance(s, TextSource)]
    known = [file.resolve() for file in files if _is_named_so(file)]
    roots = sorted({str(file.parents[file.name.startswith(_BY_GROUP)]) for file in known})
    if len(roots) > 1:
        raise DataError(
            f"{place}: holds several data sets, {' and '.join(roots)}; name one of these"
        )
    first: dict[tuple[str, str], Path] = {}
    for file in known:
        other = first.setdefault(_task_and_group(file), file)
        if other != file:
            raise DataError(f"{file}: holds the same task and group as {other.name}; delete one")


def _rows(source: TextSource | TableSource, faults: Faults) -> Iterator[_Row]:
    if isinstance(source, TableSource):
        yield from _table_rows(source, faults)
        return
    task, group = _task_and_group(Path(source.location))
    faults.source = source.location
    if not _is_known(task, group, "file", faults):
        return
    content = read_json(source)
    if not isinstance(content, list):
        faults.add("file", "file", f"is {type(content).__name__}", "give a list of dialogues")
        return
    for i, value in enumerate(content, start=1):
        yield _Row(task, group, source.location, str(i), value)


def _table_rows(source: TableSource, faults: Faults) -> Iterator[_Row]:
    faults.source = source.location
    for table, rows in source.tables.items():
        for i, value in enumerate(rows, start=1):
            task, group = str(value.get("task") or table), str(value.get("group") or MIXED)
            row = f"{table}[{i}]" if table else str(i)
            if _is_known(task, group, row, faults):
                yield _Row(task, group, source.location, row, value)


def _is_known(task: str, group: str, row: str, faults: Faults) -> bool:
    before = len(faults.lines)
    if task not in TASKS:
        mend = f"name the file TASK.json or TASK/prompt_GROUP.json{nearest(task, TASKS)}"
        faults.add(row, "task", f"{task!r} is no task of FairMT-Bench", mend)
    if group not in (*GROUPS, MIXED):
        mend = f"use {', '.join(GROUPS)}{nearest(group, GROUPS)}"
        faults.add(row, "group", f"{group!r} is no group of FairMT-Bench", mend)
    return len(faults.lines) == before


def _dialogues(rows: Sequence[_Row], faults: Faults) -> Iterator[Dialogue]:
    seen: dict[tuple[str, ...], str] = {}
    numbers: Counter[tuple[str, str]] = Counter()
    for found in rows:
        faults.source = found.location
        turns = _turns(found.value, found.row, faults)
        if turns is None:
            continue
        first = seen.setdefault((found.task, found.group, *turns), found.row)
        if first != found.row:
            faults.add(found.row, "row", f"is the dialogue of row {first} again", "delete one")
            continue
        numbers[found.task, found.group] += 1
        number = f"{numbers[found.task, found.group]:04}"
        identity = f"{found.task}-{found.group}-{number}"
        yield Dialogue(identity, found.group, turns, task=found.task)


def _turns(value: object, row: str, faults: Faults) -> tuple[str, ...] | None:
    """The five turns, numbered from 0 in either spelling; None where a fault was noted."""
    given = value if isinstance(value, Mapping) else {}
    present = [str(k) for k, text in given.items() if _TURN.fullmatch(str(k)) and text is not None]
    if not present:
        fault = f"is {type(value).__name__} without a turn"
        faults.add(row, "row", fault, f"give the turns 0 to {TURNS - 1}")
        return None
    before = len(faults.lines)
    spelling = _NAMED if any(key.endswith("Conv") for key in present) else _NUMBERED
    wanted = [spelling.format(i) for i in range(TURNS)]
    for key in sorted(set(present) - set(wanted)):
        faults.add(row, key, "is a turn too many", f"give {TURNS} turns, {wanted[0]} and on")
    texts = [read_text(given, key, row, faults) for key in wanted]
    return tuple(str(text) for text in texts) if len(faults.lines) == before else None
