"""Benchmarks on data of their own, asked for as `NAME:PLACE`, beside the data of the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from unskew.benchmarks import BENCHMARKS
from unskew.data import ceb
from unskew.data.bbq import load_bbq
from unskew.data.load import load_dataset
from unskew.data.measured import MEASURED
from unskew.data.text import load_text
from unskew.data.understanding import LAYOUTS
from unskew.errors import BenchmarkError
from unskew.evaluation.suite import Entry, entries
from unskew.types import Dataset

_Read = Callable[[str], Dataset]


def reader(benchmark: str) -> _Read | None:
    """How data of a benchmark's own is read, all into the report split; None if it has none.

    Args:
        benchmark: Its name.
    """
    if benchmark in MEASURED:
        return MEASURED[benchmark].load
    return _READERS.get(benchmark) or _READERS.get(BENCHMARKS.load(benchmark).needs)


def _load_pairs(place: str) -> Dataset:
    return load_dataset(place, splits=None)


_READERS: Mapping[str, _Read] = {
    "documents": load_text,
    "choices": load_bbq,
    "pairs": _load_pairs,
    "ceb_continuation": ceb.continuation,
    "ceb_conversation": ceb.conversation,
    "ceb_recognition": ceb.recognition,
    "ceb_selection": ceb.selection,
    **{f"{task}_generated": MEASURED[task].load for task in LAYOUTS},
}
"""A benchmark, or what it needs -> how its data is read. Everything goes to the report split."""


@dataclass(frozen=True, slots=True)
class OwnData:
    """A benchmark and the data it was given."""

    benchmark: str
    dataset: Dataset

    @property
    def label(self) -> str:
        """Name in the record and of the file of samples."""
        return f"{self.benchmark}-{self.dataset.name}"

    @property
    def key(self) -> str:
        """What its numbers are told apart by; only some benchmarks name their source."""
        return self.label if _names_source(self.benchmark) else self.benchmark

    def entries(self, references: tuple[str, ...], options: Mapping[str, Any]) -> list[Entry]:
        """The benchmark over this data, once for each reference it compares with.

        Args:
            references: Names of the models to compare with.
            options: Further arguments of the benchmark.
        """
        named = {"source": self.dataset.name} if _names_source(self.benchmark) else {}
        return entries(
            self.dataset.splits["report"],
            "report",
            names=[self.benchmark],
            references=references,
            options={self.benchmark: {**options, **named}},
            source=self.dataset.name,
        )


def is_own(asked: str) -> bool:
    """Whether a benchmark is asked for with a place of its own."""
    return ":" in asked


def read_own(asked: Iterable[str], others: Iterable[str] = ()) -> list[OwnData]:
    """Read the data of each benchmark asked for as `NAME:PLACE`.

    Args:
        asked: `perplexity:wikitext-2/test.txt`, ...
        others: Benchmarks measured on the data of the run.

    Raises:
        UnknownName: No such benchmark.
        BenchmarkError: It takes no data of its own, or its numbers would stand twice.
        DataError: The data cannot be read.
    """
    taken = set(others)
    found: list[OwnData] = []
    for words in asked:
        name, _, place = words.partition(":")
        read = reader(name)
        if read is None:
            able = ", ".join(n for n in BENCHMARKS if reader(n))
            needs = BENCHMARKS.load(name).needs
            raise BenchmarkError(
                f"{words}: {name} takes its {needs} from the data of the run (--data or "
                f"--report-data); data of their own can have {able}"
            )
        own = OwnData(name, read(place))
        if own.key in taken:
            raise BenchmarkError(f"{words}: {own.key} would be measured twice; leave one out")
        taken.add(own.key)
        found.append(own)
    return found


def _names_source(benchmark: str) -> bool:
    return "source" in inspect.signature(BENCHMARKS.load(benchmark)).parameters
