"""SST-2, MRPC, CoLA, RTE, FLUTE and AmazonPolarity: texts with one of two labels, and prompts.

Source: GLUE, Wang et al. 2018, arXiv 1804.07461; FLUTE, Chakrabarty et al. 2022, arXiv 2205.12404;
AmazonPolarity, Zhang et al. 2015, arXiv 1509.01626. Prompts and labels are in `understanding.yaml`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from unskew.data.records import Faults, read_text
from unskew.data.sources import TableSource, TextSource, first_line, joint_sha256, open_folder
from unskew.errors import DataError
from unskew.items import Labelled
from unskew.types import Dataset, Examples

_SUFFIXES = (".tsv", ".jsonl", ".csv", ".txt")
_HIDDEN = "-1"
_SPLIT_OF_HUB = {"flute": "train", "amazon_polarity": "test"}
"""Split that is read of a hub id; of the others it is `validation`."""
_GLUE = {"sst2", "mrpc", "cola", "rte"}
_LABEL = "label"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the original file of a task is written."""

    columns: tuple[str, ...]
    """Our names of its columns; `-` for one that is not needed."""
    labels: Mapping[str, int]
    header: tuple[str, ...] = ()
    """First line of the file, or nothing where it has none."""
    delimiter: str = "\t"


_BINARY = {"0": 0, "1": 1}
_RTE = {"entailment": 0, "not_entailment": 1}
LAYOUTS: Mapping[str, Layout] = {
    "sst2": Layout(("sentence", _LABEL), _BINARY),
    "mrpc": Layout(
        (_LABEL, "-", "-", "sentence1", "sentence2"),
        _BINARY,
        ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"),
    ),
    "cola": Layout(("-", _LABEL, "-", "sentence"), _BINARY),
    "rte": Layout(
        ("-", "sentence1", "sentence2", _LABEL), _RTE, ("index", "sentence1", "sentence2", _LABEL)
    ),
    "flute": Layout((), {"Entailment": 0, "Contradiction": 1}),
    "amazon_polarity": Layout((_LABEL, "title", "content"), {"1": 0, "2": 1}, (), ","),
}
"""FLUTE's files are JSON lines with names. Original labels of AmazonPolarity are 1 and 2."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a task is asked."""

    columns: tuple[str, ...]
    prompt: str
    labels: tuple[str, str]
    words: tuple[tuple[str, ...], tuple[str, ...]]
    """What a reply may name each label by: the label, and the data set's own name of it."""
    positive: int
    shots: tuple[Mapping[str, Any], ...]

    def asked(self, fields: Mapping[str, str], *, with_shots: bool) -> str:
        """The prompt, on its own or after the solved examples; a label follows after a space."""
        solved = [
            f"{self.prompt.format(**shot)} {self.labels[shot[_LABEL]]}\n\n"
            for shot in (self.shots if with_shots else ())
        ]
        return "".join(solved) + self.prompt.format(**fields)


@cache
def prompts() -> Mapping[str, Prompt]:
    """The prompt of each task."""
    text = resources.files("unskew.data").joinpath("understanding.yaml").read_text("utf-8")
    return {task: _prompt(**given) for task, given in yaml.safe_load(text).items()}


def _prompt(
    columns: Sequence[str],
    prompt: str,
    labels: Sequence[str],
    positive: int,
    shots: Sequence[Mapping[str, Any]],
    also: Sequence[Sequence[str]] = ((), ()),
) -> Prompt:
    first, second = labels
    words = (first, *also[0]), (second, *also[1])
    return Prompt(tuple(columns), prompt, (first, second), words, positive, tuple(shots))


def load_understanding(task: str, name_or_path: str) -> Dataset:
    """Read the texts of one task; all go to the report split.

    Args:
        task: One of `LAYOUTS`.
        name_or_path: The original file, also `.gz`, a folder of such files (of CoLA and FLUTE; each
            is a category), or a hub id, of which the split with known labels is read.

    Raises:
        DataError: The content is wrong, or its labels are hidden; `problems` lists every fault.
        MissingDataset: No such file, folder or cached hub id.
    """
    configuration = task if task in _GLUE else None
    sources = open_folder(name_or_path, _SUFFIXES, configuration=configuration)
    faults = Faults(name_or_path if len(sources) > 1 else sources[0].location)
    items = []
    for source in sources:
        name = source.name.rpartition("/")[2]
        category = name if len(sources) > 1 else task
        prefix = f"{source.location}:" if len(sources) > 1 else ""
        for number, value in enumerate(_rows(task, source), start=1):
            row = f"{prefix}{number}"
            item = _item(task, f"{name}-{number:06}", category, value, (row, faults))
            items += [item] if item is not None else []
    faults.raise_all()
    if not items:
        raise DataError(f"{name_or_path}: there is no text in it; give at least one row")
    sha256 = joint_sha256(sources)
    return Dataset(task, {"report": Examples(labelled=tuple(items))}, (), sha256, name_or_path)


def holds(task: str, name_or_path: str) -> bool:
    """Whether a file, or the first file of a folder, is laid out as the task's original.

    Args:
        task: One of `LAYOUTS`.
        name_or_path: As in `load_understanding`; a hub id is never looked into.
    """
    path = Path(name_or_path)
    if path.is_dir():
        path = next(filter(_may_be, sorted(path.iterdir())), path)
    if not path.is_file() or not _may_be(path):
        return False
    first = first_line(path)
    layout = LAYOUTS[task]
    if not layout.columns:
        try:
            value = json.loads(first)
        except (ValueError, RecursionError):
            return False
        return isinstance(value, Mapping) and {*prompts()[task].columns, _LABEL} <= set(value)
    cells = next(_cells(first, layout.delimiter), [])
    if layout.header:
        return tuple(cells) == layout.header
    label = layout.columns.index(_LABEL)
    return len(cells) == len(layout.columns) and cells[label] in layout.labels


def _may_be(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(_SUFFIXES)


def _cells(text: str, delimiter: str) -> Iterator[list[str]]:
    """Cells of each line; only a file with commas has quotes around cells."""
    if delimiter == ",":
        return csv.reader(io.StringIO(text, newline=""))
    return (line.split(delimiter) for line in text.splitlines() if line.strip())


def _rows(task: str, source: TextSource | TableSource) -> Iterator[object]:
    """Rows by our names of the columns, with the label as the file writes it."""
    layout = LAYOUTS[task]
    if isinstance(source, TableSource):
        split = _SPLIT_OF_HUB.get(task, "validation")
        tables = source.tables
        if split not in tables and len(tables) > 1:
            listed = ", ".join(tables)
            raise DataError(f"{source.location}: has no split {split} (there are: {listed})")
        yield from tables.get(split) or next(iter(tables.values()))
        return
    if not layout.columns:
        for line in source.text.split("\n"):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError:
                    yield line
        return
    lines = _cells(source.text, layout.delimiter)
    if layout.header:
        next(lines, None)
    for cells in lines:
        if tuple(cells) != ("sentence", _LABEL):
            is_whole = len(cells) == len(layout.columns)
            yield dict(zip(layout.columns, cells, strict=True)) if is_whole else cells


def _item(
    task: str, identity: str, category: str, value: object, place: tuple[str, Faults]
) -> Labelled | None:
    row, faults = place
    names = prompts()[task].columns
    if not isinstance(value, Mapping):
        wanted = ", ".join(LAYOUTS[task].columns or (*names, _LABEL))
        faults.add(row, "row", f"is {value!r:.60}", f"give the columns {wanted}")
        return None
    before = len(faults.lines)
    fields = {name: read_text(value, name, row, faults) for name in names}
    label = _label(task, value.get(_LABEL), row, faults)
    if len(faults.lines) > before or label is None:
        return None
    return Labelled(identity, category, task, {k: str(v) for k, v in fields.items()}, label)


def _label(task: str, given: object, row: str, faults: Faults) -> int | None:
    """Hub rows have numbers from 0, whatever the original file has."""
    allowed: Sequence[str] = tuple(LAYOUTS[task].labels)
    if isinstance(given, int) and given in (0, 1):
        return int(given)
    if isinstance(given, str) and given in LAYOUTS[task].labels:
        return LAYOUTS[task].labels[given]
    mend = f"use {', '.join(allowed)}"
    if str(given) == _HIDDEN:
        mend = "the labels of this split are hidden; name the validation split"
    faults.add(row, _LABEL, f"unknown value {given!r:.60}", mend)
    return None
