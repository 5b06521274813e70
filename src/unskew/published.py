"""A paper's table as data, and whether its numbers agree with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

__all__ = ["BASE", "Published", "PublishedRow", "audit", "same_model"]

BASE = "base"
"""The model before anything was done to it, as the method of a row."""
_HALF = 0.005
"""What rounding to two decimals can hide."""
CHANGE = "lms.change"
"""LM score after minus before, where a table prints that in place of the score."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class PublishedRow(_Strict):
    """What a table says of one method on one model."""

    model: str
    method: str
    """Name of a contender, or `base`."""
    values: list[float | None]
    """One for each column; null where the table has none."""


class Published(_Strict):
    """A table of a paper."""

    table: str
    """E.g. `Table 1`."""
    benchmark: str
    variant: str
    columns: list[str] = Field(min_length=1)
    """`metric.category`, or `lms.change`."""
    rows: list[PublishedRow] = Field(min_length=1)
    terms: dict[str, PositiveInt] = {}
    """Category -> target terms in it, where the overall value is their mean."""
    items: dict[str, PositiveInt] = {}
    """Category -> items in it, where a value is a share of them in per cent."""

    @model_validator(mode="after")
    def _rows_are_whole(self) -> Self:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(
                    f"published: {row.method} on {row.model} has {len(row.values)} values for "
                    f"{len(self.columns)} columns; write null where the table has none"
                )
        return self

    def cells(self, row: PublishedRow) -> dict[str, float]:
        """Column -> value, without the missing ones."""
        pairs = zip(self.columns, row.values, strict=True)
        return {column: value for column, value in pairs if value is not None}

    def of_model(self, model: str) -> list[PublishedRow]:
        """The rows of one model, by hub id or by the name of its folder."""
        return [row for row in self.rows if same_model(row.model, model)]


def same_model(one: str, other: str) -> bool:
    """Whether two names are of one model: a hub id also names a folder called like it."""

    def last(name: str) -> str:
        return name.rstrip("/").rpartition("/")[2].lower()

    return last(one) == last(other)


def audit(published: Published) -> list[str]:
    """Where a table contradicts itself by more than its rounding can hide.

    Three identities: ICAT is `LMS min(SS, 100 - SS) / 50`; an overall score is the mean over all
    target terms; a share is a whole number of items.

    Returns:
        A sentence for each contradiction.
    """
    told = []
    for row in published.rows:
        cells = published.cells(row)
        name = f"{published.table}: {row.method} on {row.model}"
        faults = (*_icat(published, row), *_overall(published, cells), *_shares(published, cells))
        told += [f"{name}: {fault}" for fault in faults]
    return told


def _icat(published: Published, row: PublishedRow) -> Iterator[str]:
    cells = published.cells(row)
    ss, printed = cells.get("ss.overall"), cells.get("icat.overall")
    lms = _lms(published, row, cells.get(CHANGE))
    if ss is None or printed is None or lms is None or _agrees(*lms, ss, printed):
        return
    follows = _follows(lms[0], ss)
    fitting = [
        other.model
        for other in published.rows
        if other.method == row.method
        and not same_model(other.model, row.model)
        and CHANGE in cells
        and (swapped := _lms(published, row, published.cells(other).get(CHANGE))) is not None
        and _agrees(*swapped, ss, printed)
    ]
    hint = f"; it follows from the LMS change printed for {fitting[0]}" if fitting else ""
    yield f"ICAT {printed} does not follow from its SS and LMS, which give {follows:.2f}{hint}"


def _lms(
    published: Published, row: PublishedRow, change: float | None
) -> tuple[float, float] | None:
    """LM score and what rounding can hide of it: as printed, else the base's plus the change."""
    own = published.cells(row).get("lms.overall")
    if own is not None:
        return own, _HALF
    bases = [r for r in published.of_model(row.model) if r.method == BASE]
    before = published.cells(bases[0]).get("lms.overall") if bases else None
    return None if before is None or change is None else (before + change, 2 * _HALF)


def _follows(lms: float, ss: float) -> float:
    return lms * min(ss, 100 - ss) / 50


def _agrees(lms: float, slack: float, ss: float, printed: float) -> bool:
    hidden = (min(ss, 100 - ss) * slack + lms * _HALF) / 50 + _HALF
    return abs(_follows(lms, ss) - printed) <= hidden


def _overall(published: Published, cells: Mapping[str, float]) -> Iterator[str]:
    for metric in dict.fromkeys(column.partition(".")[0] for column in published.columns):
        parts = {c: cells.get(f"{metric}.{c}") for c in published.terms}
        overall = cells.get(f"{metric}.overall")
        known = {c: value for c, value in parts.items() if value is not None}
        if overall is None or not known or len(known) < len(parts):
            continue
        terms = sum(published.terms.values())
        mean = sum(published.terms[c] * value for c, value in known.items()) / terms
        if abs(mean - overall) > 2 * _HALF + 1e-9:
            yield (
                f"{metric.upper()} {overall} overall is not the mean over its {terms} target "
                f"terms, which is {mean:.2f}"
            )


def _shares(published: Published, cells: Mapping[str, float]) -> Iterator[str]:
    for column, value in cells.items():
        n = published.items.get(column.partition(".")[2])
        if n is not None and abs(100 * round(value * n / 100) / n - value) > _HALF + 1e-9:
            yield f"{column} {value} is no share of {n} items"
