"""Rows on their way to pairs, and the collector that reports every fault of a file at once."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from unskew.errors import DataError
from unskew.registry import nearest
from unskew.types import Drop, Pair

EVALUATION_ONLY = "evaluation_only"
"""Tag of a pair that is scored but never trained on."""

SPLIT_NAMES = {
    "train": "train",
    "select": "select",
    "validation": "select",
    "report": "report",
    "test": "report",
}
"""What a file may call a split, and what it is here."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Record:
    """One row as it was read: where it stands, its value, and what the layout says of it."""

    row: str
    """1-based row, or the JSON list and the place in it."""
    value: object
    task: str | None = None
    split: str | None = None
    """Split name that the source gives to the table the row comes from."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a format makes of its rows."""

    pairs: tuple[Pair, ...]
    unfit: Mapping[str, str]
    """Id of each pair tagged `evaluation_only`, and why it is not trained on."""
    marks: Mapping[str, str]
    """Id to `train`, `select` or `report`, where the file decides the split itself."""
    left_out: tuple[Drop, ...] = ()
    """Rows that no split can use, and why."""


class Faults:
    """Collects the faults of one source as lines ``file:row: field: fault; mend``.

    Args:
        source: File or hub id, as the user named it.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: list[str] = []
        self._ids: dict[str, str] = {}

    def add(self, row: str, field: str, fault: str, mend: str) -> None:
        """Note one fault."""
        self.lines.append(f"{self.source}:{row}: {field}: {fault}; {mend}")

    def raise_all(self) -> None:
        """Raise if there is any fault.

        Raises:
            DataError: Its message shows the first five faults, its `problems` hold all.
        """
        if not self.lines:
            return
        shown = "\n".join(self.lines[:_SHOWN])
        more = len(self.lines) - _SHOWN
        tail = f"\nand {more} more; `unskew data validate` lists all" if more > 0 else ""
        raise DataError(shown + tail, tuple(self.lines))

    def is_new_id(self, value: str, row: str, field: str = "id") -> bool:
        """Whether the id is seen for the first time; a repeated one is noted as a fault."""
        if value not in self._ids:
            self._ids[value] = row
            return True
        fault = f"{value!r} is also the id of row {self._ids[value]}"
        self.add(row, field, fault, "give every row its own")
        return False


def read_text(record: Mapping[object, object], field: str, row: str, faults: Faults) -> str | None:
    """Value of a required text field, unchanged; None where a fault was noted.

    Whole numbers are accepted and written out, since ids and targets often are numbers.
    """
    if record.get(field) is None:
        present = ", ".join(sorted(str(k) for k in record if k)) or "nothing"
        hint = nearest(field, [str(key) for key in record])
        faults.add(row, field, "is missing", f"add it (the row has: {present}){hint}")
        return None
    value = record[field]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        faults.add(row, field, f"is {type(value).__name__} {value!r:.60}", "give a text")
        return None
    if any(unicodedata.category(c) == "Cs" for c in value):
        faults.add(row, field, "holds half of a surrogate pair", "save the file as plain UTF-8")
        return None
    if not value.strip():
        faults.add(row, field, "is empty", "fill it in or delete the row")
        return None
    return value


def read_optional_text(
    record: Mapping[object, object], field: str, row: str, faults: Faults
) -> str | None:
    """As `read_text`, but an absent, null or empty field is None without a fault."""
    value = record.get(field)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return read_text(record, field, row, faults)


def read_choice(
    value: object, allowed: Mapping[str, str], where: tuple[str, str], faults: Faults
) -> str | None:
    """Look up a label; None where a fault naming the allowed values was noted.

    Args:
        value: What the file says.
        allowed: Accepted spellings, and what each means here.
        where: Row and field.
        faults: Takes the fault.
    """
    if isinstance(value, str) and value.strip() in allowed:
        return allowed[value.strip()]
    row, field = where
    hint = nearest(value, allowed) if isinstance(value, str) else ""
    faults.add(row, field, f"unknown value {value!r:.60}", f"use {', '.join(allowed)}{hint}")
    return None
