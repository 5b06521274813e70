"""Pairs of the user's own: JSONL, CSV or a `datasets` folder, with any column names."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence

from unskew.data.completion import BLANK, fill_template, follow, word_prefix
from unskew.data.records import (
    EVALUATION_ONLY,
    SPLIT_NAMES,
    Faults,
    Parsed,
    Record,
    read_choice,
    read_optional_text,
    read_text,
)
from unskew.errors import UnknownName
from unskew.registry import nearest
from unskew.types import OVERALL, Pair

REQUIRED = ("stereotype", "anti_stereotype")
OPTIONAL = ("id", "category", "target", "context", "unrelated", "split")
DEFAULT_CATEGORY = "uncategorised"


def resolve_columns(columns: Mapping[str, str] | None) -> dict[str, str]:
    """Our name of each column to the file's name for it; what is not mapped has our name.

    Raises:
        UnknownName: A key is not a column that unskew reads.
    """
    known = (*REQUIRED, *OPTIONAL)
    for name in columns or {}:
        if name not in known:
            raise UnknownName(
                f"unknown column {name!r}{nearest(name, known)} (there are: {', '.join(known)})"
            )
    return {name: name for name in known} | dict(columns or {})


def parse(
    records: Sequence[Record], columns: Mapping[str, str] | None, faults: Faults, *, strict: bool
) -> Parsed:
    """Turn rows into pairs, in their order.

    Args:
        records: Rows; a `split` they carry themselves wins over the table they came from.
        columns: Our name to the file's name, where they differ.
        faults: Takes every fault; a row with a fault gives no pair.
        strict: As for StereoSet, where a context holds BLANK.
    """
    names = resolve_columns(columns)
    if not records:
        return Parsed((), {}, {})
    present = {str(k) for r in records if isinstance(r.value, Mapping) for k in r.value}
    wanted = {*REQUIRED, *(columns or {})}
    absent = [names[ours] for ours in sorted(wanted) if names[ours] not in present]
    for theirs in absent:
        listed = ", ".join(sorted(present)) or "none"
        hint = nearest(theirs, present)
        mend = f"map it with columns, e.g. stereotype=NAME (columns of the file: {listed}){hint}"
        faults.add("header", theirs, "no such column", mend)
    if absent:
        return Parsed((), {}, {})
    reader = _Reader(names, names["split"] in present, faults, strict)
    for record in records:
        reader.read(record)
    return Parsed(tuple(reader.pairs), reader.unfit, reader.marks)


class _Reader:
    """Reads row after row; holds what the rows have given so far."""

    def __init__(
        self, names: Mapping[str, str], has_split: bool, faults: Faults, strict: bool
    ) -> None:
        self.names = names
        self.has_split = has_split
        self.faults = faults
        self.strict = strict
        self.pairs: list[Pair] = []
        self.unfit: dict[str, str] = {}
        self.marks: dict[str, str] = {}
        self._same: Counter[str] = Counter()

    def read(self, record: Record) -> None:
        """Add the pair of one row, or its faults."""
        row, value, faults = record.row, record.value, self.faults
        if not isinstance(value, Mapping):
            faults.add(row, "row", f"is {type(value).__name__}", "give an object with columns")
            return
        before = len(faults.lines)
        required = [read_text(value, self.names[name], row, faults) for name in REQUIRED]
        optional = {
            name: read_optional_text(value, self.names[name], row, faults)
            for name in OPTIONAL
            if name != "split"
        }
        mark = self._mark(record, value)
        if optional["category"] == OVERALL:
            mend = f"rename it; {OVERALL!r} is the name of the sum over categories"
            faults.add(row, self.names["category"], f"is {OVERALL!r}", mend)
        texts = [text for text in (*required, optional["unrelated"]) if text is not None]
        if required[0] is not None and required[0] == required[1]:
            mend = "they have to differ"
            faults.add(row, self.names["anti_stereotype"], "is the same as the stereotype", mend)
        start, texts, reason = self._place(row, optional["context"], texts)
        identity = optional["id"] or self._identity(required, optional)
        faults.is_new_id(identity, row, self.names["id"])
        if len(faults.lines) > before:
            return
        self._add(identity, optional, texts, (start, reason, mark))

    def _add(
        self,
        identity: str,
        optional: Mapping[str, str | None],
        texts: Sequence[str],
        placed: tuple[int, str | None, str | None],
    ) -> None:
        start, reason, mark = placed
        kinds = ("stereotype", "anti_stereotype", "unrelated")
        self.pairs.append(
            Pair(
                id=identity,
                category=optional["category"] or DEFAULT_CATEGORY,
                target=optional["target"] or identity,
                stereotype=texts[0],
                anti_stereotype=texts[1],
                unrelated=texts[2] if len(texts) > 2 else None,
                completion_start=start,
                task="pair",
                sentence_ids=tuple(f"{identity}-{k}" for k, _ in zip(kinds, texts, strict=False)),
                tags=(EVALUATION_ONLY,) if reason else (),
            )
        )
        if reason is not None:
            self.unfit[identity] = reason
        if mark is not None:
            self.marks[identity] = mark

    def _mark(self, record: Record, value: Mapping[object, object]) -> str | None:
        given = value.get(self.names["split"]) if self.has_split else record.split
        if given is None and not self.has_split:
            return None
        return read_choice(given, SPLIT_NAMES, (record.row, self.names["split"]), self.faults)

    def _place(
        self, row: str, context: str | None, texts: Sequence[str]
    ) -> tuple[int, Sequence[str], str | None]:
        """Completion start, full texts, and why not to train on them.

        The context is a template with BLANK, or it starts every text, or it starts none and is
        put in front of each.
        """
        if not texts or context is None:
            return (word_prefix(texts) if texts else 0), texts, None
        if BLANK in context:
            start, reason = fill_template(context, texts, strict=self.strict)
            return start, texts, reason
        lead = context.rstrip()
        repeats = [text.startswith(lead) and bool(text[len(lead) :].strip()) for text in texts]
        if all(repeats):
            return len(lead), texts, None
        if any(repeats):
            mend = "let every text start with the context, or none"
            self.faults.add(row, self.names["context"], "starts some texts and not all", mend)
        start, joined = follow(context, texts)
        return start, joined, None

    def _identity(self, required: Sequence[str | None], optional: Mapping[str, str | None]) -> str:
        """Id made from the content, so that it does not depend on the order of the rows."""
        content = json.dumps([required, sorted(optional.items())])
        digest = hashlib.sha256(content.encode()).hexdigest()[:12]
        self._same[digest] += 1
        return digest if self._same[digest] == 1 else f"{digest}-{self._same[digest]}"
