"""BBQ: three-option questions about people, with and without the context that answers them.

Source: Parrish et al. 2022, arXiv 2110.08193, one JSONL file for each category; CC BY 4.0.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, cast

from unskew.data.records import Faults, read_choice, read_text
from unskew.data.sources import TableSource, TextSource, joint_sha256, open_folder
from unskew.errors import DataError
from unskew.items import ChoiceQuestion
from unskew.types import (
    Dataset,
    Drop,
    Examples,
)

SUFFIXES = (".jsonl",)
OPTIONS = ("ans0", "ans1", "ans2")
UNKNOWN = "unknown"
_CONDITIONS = {"ambig": "ambig", "disambig": "disambig"}
_POLARITIES = {"neg": "neg", "nonneg": "nonneg"}
_SPELLINGS = {
    "lowses": "low ses",
    "highses": "high ses",
    "nonobese": "non obese",
    "nondisabled": "non disabled",
    "nontrans": "non trans",
    "woman": "f",
    "girl": "f",
    "man": "m",
    "boy": "m",
}
"""Tags of options, and how the stereotyped groups spell them."""


def load_bbq(name_or_path: str, revision: str | None = None) -> Dataset:
    """Read BBQ's questions; all go to the report split, since there is nothing to learn from.

    Args:
        name_or_path: An original JSONL file, also `.gz`, a folder of them, or a hub id.
        revision: Branch, tag or commit of a hub id.

    Returns:
        The data set; `drops` lists the items that count for accuracy only, since not exactly one
        of their options follows the stereotype.

    Raises:
        DataError: The content is wrong; `problems` lists every fault.
        MissingDataset: No such file, folder or cached hub id.
    """
    sources = open_folder(name_or_path, SUFFIXES, revision)
    faults = Faults(name_or_path if len(sources) > 1 else sources[0].location)
    items = [
        item
        for source in sources
        for row, value in _rows(source, faults, named=len(sources) > 1)
        if (item := _question(value, row, faults)) is not None
    ]
    faults.raise_all()
    if not items:
        raise DataError(f"{name_or_path}: there is no question in it; give at least one row")
    why = "not exactly one option follows the stereotype; counts for accuracy only"
    drops = tuple(Drop(item.id, why) for item in items if item.biased is None)
    name = Path(name_or_path).name if Path(name_or_path).is_dir() else sources[0].name
    sha256 = joint_sha256(sources)
    return Dataset(name, {"report": Examples(choices=tuple(items))}, drops, sha256, name_or_path)


def prompt_of(question: ChoiceQuestion) -> str:
    """What an option continues, after a space: context, empty line, question, `A:`."""
    return f"{question.context}\n\nQ: {question.question}\nA:"


def is_question(value: object) -> bool:
    """Whether a row has the columns that only BBQ has."""
    return isinstance(value, Mapping) and {*OPTIONS, "answer_info"} <= set(value)


def is_bbq(name_or_path: str, format: str = "auto") -> bool:
    """Whether a place holds BBQ: so named as the format, or by the first row of its first file.

    Args:
        name_or_path: As in `load_bbq`.
        format: `bbq`, `auto` or another format's name.
    """
    if format != "auto":
        return format == "bbq"
    path = Path(name_or_path)
    if not path.exists() or (path.is_dir() and not any(path.glob("*.jsonl*"))):
        return False
    source = open_folder(name_or_path, SUFFIXES)[0]
    if isinstance(source, TableSource):
        rows = next(iter(source.tables.values()), ())
        return bool(rows) and is_question(rows[0])
    try:
        return is_question(json.loads(source.text.lstrip().partition("\n")[0]))
    except (ValueError, RecursionError):
        return False


def _rows(
    source: TextSource | TableSource, faults: Faults, *, named: bool
) -> Iterator[tuple[str, object]]:
    prefix = f"{source.location}:" if named else ""
    if isinstance(source, TableSource):
        for table, rows in source.tables.items():
            yield from ((f"{prefix}{table}[{i}]", row) for i, row in enumerate(rows, start=1))
        return
    for number, line in enumerate(source.text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"{prefix}{number}", json.loads(line)
            except ValueError:
                faults.add(f"{prefix}{number}", "line", "is not JSON", "write one object a line")


def _question(value: object, row: str, faults: Faults) -> ChoiceQuestion | None:
    if not isinstance(value, Mapping):
        faults.add(row, "row", f"is {type(value).__name__}", "give the fields of BBQ")
        return None
    before = len(faults.lines)
    fields = ("example_id", "category", "question_index", "context", "question", *OPTIONS)
    texts = {name: read_text(value, name, row, faults) for name in fields}
    polarity, condition = (
        read_choice(value.get(name), allowed, (row, name), faults)
        for name, allowed in (
            ("question_polarity", _POLARITIES),
            ("context_condition", _CONDITIONS),
        )
    )
    info = _answer_info(value, row, faults)
    groups = _stereotyped(value, row, faults)
    label = value.get("label")
    if label not in (0, 1, 2) or isinstance(label, bool):
        faults.add(row, "label", f"is {label!r:.60}", "give 0, 1 or 2")
    identity = f"{texts['category']}-{texts['example_id']}"
    faults.is_new_id(identity, row, "example_id")
    if len(faults.lines) > before:
        return None
    assert info is not None and isinstance(label, int)
    unknown = next(i for i, tags in enumerate(info) if tags[-1] == UNKNOWN)
    return ChoiceQuestion(
        id=identity,
        category=str(texts["category"]),
        template=str(texts["question_index"]),
        condition=cast('Literal["ambig", "disambig"]', condition),
        context=str(texts["context"]),
        question=str(texts["question"]),
        options=tuple(str(texts[name]) for name in OPTIONS),
        names=tuple(tags[0] for tags in info),
        right=label,
        unknown=unknown,
        biased=_biased(info, groups, is_negative=polarity == "neg"),
    )


def _answer_info(
    value: Mapping[object, object], row: str, faults: Faults
) -> list[tuple[str, ...]] | None:
    """Text and group of each option."""
    info = value.get("answer_info")
    found = [info.get(name) for name in OPTIONS] if isinstance(info, Mapping) else []
    is_whole = len(found) == len(OPTIONS) and all(
        isinstance(tags, list | tuple) and tags and all(isinstance(t, str) for t in tags)
        for tags in found
    )
    if not is_whole:
        faults.add(row, "answer_info", f"is {info!r:.60}", "give text and group of each option")
        return None
    options = [tuple(tags) for tags in found if tags]
    if Counter(tags[-1] for tags in options)[UNKNOWN] != 1:
        faults.add(row, "answer_info", "has not one option of group 'unknown'", "mark one")
        return None
    return options


def _stereotyped(value: Mapping[object, object], row: str, faults: Faults) -> set[str]:
    metadata = value.get("additional_metadata")
    groups = metadata.get("stereotyped_groups") if isinstance(metadata, Mapping) else None
    if not isinstance(groups, list) or not all(isinstance(g, str) for g in groups):
        faults.add(
            row, "additional_metadata", "has no stereotyped_groups", "give a list of their names"
        )
        return set()
    return {_spelt(group) for group in groups}


def _biased(info: list[tuple[str, ...]], stereotyped: set[str], *, is_negative: bool) -> int | None:
    """The option that names the stereotyped group; of a non-negative question, the other one."""
    named = [i for i, tags in enumerate(info) if tags[-1] != UNKNOWN]
    of_group = [i for i in named if _tags(info[i]) & stereotyped]
    if len(of_group) != 1:
        return None
    return of_group[0] if is_negative else next(i for i in named if i != of_group[0])


def _tags(option: tuple[str, ...]) -> set[str]:
    """Text and group, whole and in the parts of a compound such as `F-Black` or `nonTrans_F`."""
    text, group = option[0], option[-1]
    return {_spelt(tag) for tag in (text, group, *re.split("[-_]", group))}


def _spelt(tag: str) -> str:
    lowered = tag.strip().lower()
    return _SPELLINGS.get(lowered, lowered)
