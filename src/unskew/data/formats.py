"""Which format a source is in, its rows, and the pairs they give."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import PurePath

from unskew.data import bbq, crows_pairs, stereoset, tabular
from unskew.data.json_rows import json_lines, json_value, read_json
from unskew.data.records import Faults, Parsed, Record
from unskew.data.sources import TableSource, TextSource
from unskew.errors import ConfigError, DataError, UnknownName
from unskew.registry import nearest

FORMATS = ("auto", "stereoset", "crows_pairs", "jsonl", "csv", "datasets")

TABULAR = ("jsonl", "csv", "datasets")
"""Formats whose columns can be mapped."""

_TEXT_FORMATS = "stereoset, crows_pairs, jsonl, csv"

Source = TextSource | TableSource


def parse(
    source: Source,
    format: str,
    columns: Mapping[str, str] | None,
    faults: Faults,
    *,
    strict: bool = False,
) -> Parsed:
    """Read the rows of a source and turn them into pairs.

    Args:
        source: From `open_source`.
        format: One of `FORMATS`; `auto` decides by content, then by the end of the name.
        columns: Our column name to the file's; for jsonl, csv and datasets.
        faults: Takes the faults of single rows.
        strict: See `stereoset.parse`.

    Raises:
        UnknownName: No such format or column.
        ConfigError: Columns were given for a format with fixed names, or the format needs
            another kind of source.
        DataError: The whole file cannot be read as this format.
    """
    if format not in FORMATS:
        listed = ", ".join(FORMATS)
        raise UnknownName(
            f"unknown format {format!r}{nearest(format, FORMATS)} (there are: {listed})"
        )
    tabular.resolve_columns(columns)
    resolved = detect(source) if format == "auto" else format
    if isinstance(source, TextSource) and resolved == "datasets":
        raise ConfigError(f"{source.location} is a file, no datasets folder; use {_TEXT_FORMATS}")
    if isinstance(source, TableSource) and resolved in ("jsonl", "csv"):
        raise ConfigError(f"{source.location} is no {resolved} file; use datasets")
    if columns and resolved not in TABULAR:
        raise ConfigError(
            f"columns were given, and {source.location} is read as {resolved}, whose columns are "
            f"fixed; leave them out, or name the format as well: one of {', '.join(TABULAR)}"
        )
    rows = (
        _table_records(source)
        if isinstance(source, TableSource)
        else _text_records(source, resolved, faults)
    )
    if resolved == "stereoset":
        return stereoset.parse(rows, faults, strict=strict)
    if resolved == "crows_pairs":
        return crows_pairs.parse(rows, faults)
    return tabular.parse(rows, columns, faults, strict=strict)


def detect(source: Source) -> str:
    """Format of a source, by its content first.

    Raises:
        DataError: Undecidable; the message lists the formats.
    """
    if isinstance(source, TableSource):
        first = next((row for rows in source.tables.values() for row in rows), None)
        return _kind_of_row(first, "datasets")
    suffix = PurePath(source.location.removesuffix(".gz")).suffix.lower()
    value, first = json_value(source.text), json_value(_first_line(source.text))
    if isinstance(value, Mapping | list):
        if stereoset.clusters(value) is not None:
            return "stereoset"
        return _kind_of_row(value[0] if isinstance(value, list) and value else value, "jsonl")
    if isinstance(first, Mapping):
        return _kind_of_row(first, "jsonl")
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if suffix == ".json":
        _parse_json(source)
    header = _csv_header(source.text)
    if crows_pairs.is_row(header):
        return "crows_pairs"
    if suffix == ".csv" or set(tabular.REQUIRED) <= set(header):
        return "csv"
    raise DataError(
        f"{source.location}: the format cannot be told from the content; "
        f"name it: one of {_TEXT_FORMATS}"
    )


def _kind_of_row(row: object, otherwise: str) -> str:
    if bbq.is_question(row):
        raise ConfigError(
            "these are BBQ's questions, no pairs to learn from; measure on them with `unskew "
            "evaluate --data PLACE` or `--benchmarks bbq:PLACE`"
        )
    if stereoset.is_cluster(row):
        return "stereoset"
    return "crows_pairs" if crows_pairs.is_row(row) else otherwise


def _table_records(source: TableSource) -> list[Record]:
    """Rows of all tables; several tables that are not tasks are the splits of the data set."""
    several = len(source.tables) > 1
    records = []
    for table, rows in source.tables.items():
        task = table if table in stereoset.TASKS else None
        split = table if several and task is None else None
        label = f"{table}[{{}}]" if table else "{}"
        records += [
            Record(label.format(i), row, task=task, split=split)
            for i, row in enumerate(rows, start=1)
        ]
    return records


def _text_records(source: TextSource, format: str, faults: Faults) -> list[Record]:
    is_json_lines = isinstance(json_value(_first_line(source.text)), Mapping)
    value = json_value(source.text)
    if format == "csv" or (format == "crows_pairs" and value is None and not is_json_lines):
        return _csv_records(source, faults)
    clusters = stereoset.clusters(value)
    if format == "stereoset" and clusters is not None:
        return clusters
    if isinstance(value, list):
        return [Record(f"[{i}]", row) for i, row in enumerate(value, start=1)]
    if isinstance(value, Mapping):
        return [Record("1", value)]
    if value is None and not is_json_lines:
        _parse_json(source)
    return [Record(row, value) for row, value in json_lines(source.text, faults)]


def _parse_json(source: TextSource) -> None:
    """Raise with the place where the JSON of a file breaks, or for what it is instead of rows."""
    read_json(source)
    raise DataError(
        f"{source.location}: the JSON is neither an object nor a list; "
        "give StereoSet's layout, a list of objects or one object per line"
    )


def _first_line(text: str) -> str:
    return text.lstrip().partition("\n")[0]


def _csv_header(text: str) -> dict[str, None]:
    try:
        return dict.fromkeys(next(csv.reader(io.StringIO(text, newline=""), strict=True), []))
    except csv.Error:
        return {}


def _csv_records(source: TextSource, faults: Faults) -> list[Record]:
    """Rows of a CSV with a header; the first row below it is row 1."""
    reader = csv.DictReader(io.StringIO(source.text, newline=""), strict=True)
    records = []
    try:
        header = list(reader.fieldnames or [])
        for name in sorted({name for name in header if header.count(name) > 1}):
            faults.add("header", repr(name), "stands twice", "give every column its own name")
        for i, row in enumerate(reader, start=1):
            cells = [value for value in row.values() if value is not None]
            if None in row or len(cells) < len(row):
                fault = f"does not have {len(header)} cells"
                faults.add(str(i), "row", fault, "quote cells that hold commas or line breaks")
            else:
                records.append(Record(str(i), row))
    except csv.Error as error:
        raise DataError(
            f"{source.location}:{reader.line_num}: broken CSV ({error}); "
            "quote cells that hold commas, quotes or line breaks"
        ) from error
    return records
