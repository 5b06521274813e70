"""What is in a data set, and what is wrong with a data file."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from unskew.data.formats import parse
from unskew.data.records import Faults
from unskew.data.sources import open_source
from unskew.errors import DataError
from unskew.types import Dataset, Pair

_SPLITS = ("train", "select", "report")
_SAMPLES = 2
_SHOWN_IDS = 5


@dataclass(frozen=True, slots=True)
class Lengths:
    """Spread of a length."""

    minimum: int
    median: float
    maximum: int


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """Counts and examples of a data set."""

    name: str
    source: str
    sha256: str
    pairs: Mapping[tuple[str, str, str], int]
    """Number of pairs by split, category and task."""
    targets: Mapping[tuple[str, str], int]
    """Number of targets by split and category."""
    shared_targets: Mapping[str, int]
    """Number of targets of a category that stand in more than one split; those with any."""
    others: Mapping[tuple[str, str], int]
    """Number of documents, questions and probes by split and kind; those with any."""
    characters: Lengths | None
    """Of the texts of the pairs; None where there is no pair."""
    words: Lengths | None
    """Of the texts of the pairs, cut at white space."""
    drops: Mapping[str, tuple[str, ...]]
    """Ids by reason."""
    samples: Mapping[str, tuple[Pair, ...]]
    """The first two pairs of each category."""


def inspect_dataset(dataset: Dataset) -> DatasetSummary:
    """Count what is in a data set."""
    placed = [(s, p) for s, examples in dataset.splits.items() for p in examples.pairs]
    targets: dict[tuple[str, str], set[str]] = defaultdict(set)
    samples: dict[str, list[Pair]] = defaultdict(list)
    for split, pair in placed:
        targets[split, pair.category].add(pair.target)
        if len(samples[pair.category]) < _SAMPLES:
            samples[pair.category].append(pair)
    drops: dict[str, list[str]] = defaultdict(list)
    for drop in dataset.drops:
        drops[drop.reason].append(drop.id)
    others = {
        (split, kind): len(items)
        for split, examples in dataset.splits.items()
        for kind in ("documents", "questions", "probes")
        if (items := getattr(examples, kind))
    }
    texts = [text for _, pair in placed for text in pair.texts]
    return DatasetSummary(
        name=dataset.name,
        source=dataset.source,
        sha256=dataset.sha256,
        pairs=Counter((split, pair.category, pair.task) for split, pair in placed),
        targets={key: len(found) for key, found in targets.items()},
        shared_targets=_shared(targets),
        others=others,
        characters=_lengths(map(len, texts)),
        words=_lengths(len(text.split()) for text in texts),
        drops={reason: tuple(ids) for reason, ids in drops.items()},
        samples={category: tuple(found) for category, found in samples.items()},
    )


def summary_lines(summary: DatasetSummary) -> list[str]:
    """The summary as plain text, one string for each line."""
    lines = [f"{summary.name}  ({summary.source or 'made here'})"]
    lines += [f"sha256 {summary.sha256}"] if summary.sha256 else []
    rows = [
        (split, category, task, str(n), str(summary.targets[split, category]))
        for (split, category, task), n in sorted(summary.pairs.items(), key=_table_order)
    ]
    lines += ["", *_table(("split", "category", "task", "pairs", "targets"), rows)] if rows else []
    lines += [f"{split}: {n} {kind}" for (split, kind), n in summary.others.items()]
    for category, n in summary.shared_targets.items():
        lines.append(f"{category}: {n} targets stand in more than one split")
    for unit, spread in (("characters", summary.characters), ("words", summary.words)):
        if spread is not None:
            lines.append(
                f"{unit} of a text: {spread.minimum} to {spread.maximum}, median {spread.median:g}"
            )
    for reason, ids in summary.drops.items():
        more = ", ..." if len(ids) > _SHOWN_IDS else ""
        lines.append(f"not trained on, {len(ids)}: {reason} ({', '.join(ids[:_SHOWN_IDS])}{more})")
    for category, pairs in summary.samples.items():
        lines += ["", f"{category}:"]
        lines += [line for pair in pairs for line in _sample(pair)]
    return lines


def validate(
    name_or_path: str, format: str = "auto", columns: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Every fault of a data set, each as ``file:row: field: fault; mend``; empty if there is none.

    Args:
        name_or_path: A file, a gzipped file, a folder or a hub id.
        format: One of `unskew.data.formats.FORMATS`.
        columns: Our column name to the file's.

    Raises:
        ConfigError: The format or the columns are no known names or do not fit the source.
    """
    try:
        source = open_source(name_or_path)
        faults = Faults(source.location)
        parsed = parse(source, format, columns, faults)
    except DataError as error:
        return error.problems
    if not parsed.pairs and not faults.lines:
        faults.add("1", "row", "there is no pair in the file", "give at least one row")
    return tuple(faults.lines)


def _shared(targets: Mapping[tuple[str, str], set[str]]) -> dict[str, int]:
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for (_, category), found in targets.items():
        seen[category].update(found)
    counts = {c: sum(n > 1 for n in splits.values()) for c, splits in seen.items()}
    return {category: n for category, n in counts.items() if n}


def _lengths(values: Iterable[int]) -> Lengths | None:
    found = list(values)
    return Lengths(min(found), statistics.median(found), max(found)) if found else None


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]


def _table_order(row: tuple[tuple[str, str, str], int]) -> tuple[int, str, str]:
    split, category, task = row[0]
    return _SPLITS.index(split), category, task


def _sample(pair: Pair) -> list[str]:
    kinds = ("stereotype", "anti-stereotype", "unrelated")
    cut = pair.completion_start
    return [
        f"  {kind:<15} {text[:cut]!r} | {text[cut:]!r}"
        for kind, text in zip(kinds, pair.texts, strict=False)
    ]
