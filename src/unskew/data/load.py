"""From a name to a `Dataset` in its splits: the entry to this room."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from unskew.data.formats import TABULAR, Source, detect, parse
from unskew.data.measured import refuse_to_learn
from unskew.data.records import Faults, Parsed
from unskew.data.sources import open_source
from unskew.data.splits import (
    DEFAULT_SPLITS,
    SplitSettings,
    check_disjoint,
    fits_training,
    split_for_training,
    split_pairs,
)
from unskew.errors import ConfigError, DataError
from unskew.registry import nearest
from unskew.types import Dataset, Drop, Examples, Pair

Splits = dict[str, tuple[Pair, ...]]


def load_dataset(  # noqa: PLR0913 - one entry for the command line; all but the first are keywords
    name_or_path: str,
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    categories: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    splits: SplitSettings | None = DEFAULT_SPLITS,
    report_data: str | None = None,
    revision: str | None = None,
    strict: bool = False,
) -> Dataset:
    """Read a data set of pairs and split it.

    Args:
        name_or_path: A file, a gzipped file, a folder or a hub id.
        format: One of `unskew.data.formats.FORMATS`.
        columns: Our column name to the file's, for jsonl, csv and datasets.
        categories: Keep only these; each must occur.
        tasks: Keep only these, of intrasentence, intersentence and pair; each must occur.
        splits: Shares and seed. None puts all into the report split, in the order of the file and
            whatever split it names: for evaluation only.
        report_data: The data set of the report split; `name_or_path` then gives train and select.
            Read with format `auto`; `columns` hold where it is a plain table.
        revision: Branch, tag or commit of a hub id; of `name_or_path` only.
        strict: Keep clusters that do not end like their context out of training as well.

    Returns:
        The data set; `drops` lists unusable rows, the pairs kept out of training, and why. Of two
        sources, `sha256` is that of their two checksums in a row.

    Raises:
        MissingDataset: No such file, folder or cached hub id.
        DataError: The content is wrong; `problems` lists every fault.
        LeakageError: A pair stands in two splits.
        ConfigError: The arguments contradict each other, or the data set is one that is measured on
            and never learned from; UnknownName where one is no known name.
    """
    refuse_to_learn(name_or_path, format)
    source = open_source(name_or_path, revision)
    main = _load(source, format, columns, strict).filtered(categories, tasks)
    if report_data is None:
        return _dataset(main, {"report": main.pairs} if splits is None else _split(main, splits))
    if splits is None:
        raise ConfigError(f"report_data {report_data!r} needs splits; leave splits=None out")
    report = _load_report(report_data, columns, strict).filtered(categories, tasks)
    return _dataset(main, _split_for_training(main, splits) | {"report": report.pairs}, report)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One source, read."""

    name: str
    location: str
    sha256: str
    parsed: Parsed

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return self.parsed.pairs

    def filtered(self, categories: Sequence[str] | None, tasks: Sequence[str] | None) -> _Loaded:
        """Only the pairs of these categories and tasks, each of which has to occur."""
        _check_present(self.location, "category", categories, {p.category for p in self.pairs})
        _check_present(self.location, "task", tasks, {p.task for p in self.pairs})
        kept = tuple(
            p
            for p in self.pairs
            if (categories is None or p.category in categories)
            and (tasks is None or p.task in tasks)
        )
        if not kept:
            raise DataError(
                f"{self.location}: no pair is of categories {_listed(categories)} and tasks "
                f"{_listed(tasks)} at once; ask for fewer restrictions"
            )
        return replace(self, parsed=replace(self.parsed, pairs=kept))


def _load(source: Source, format: str, columns: Mapping[str, str] | None, strict: bool) -> _Loaded:
    faults = Faults(source.location)
    parsed = parse(source, format, columns, faults, strict=strict)
    faults.raise_all()
    if not parsed.pairs:
        raise DataError(f"{source.location}: there is no pair in it; give at least one row")
    return _Loaded(source.name, source.location, source.sha256, parsed)


def _load_report(name: str, columns: Mapping[str, str] | None, strict: bool) -> _Loaded:
    source = open_source(name)
    format = detect(source)
    return _load(source, format, columns if format in TABULAR else None, strict)


def _dataset(main: _Loaded, made: Splits, report: _Loaded | None = None) -> Dataset:
    check_disjoint(made)
    origin, sha256 = main.location, main.sha256
    if report is not None:
        origin = f"{main.location}; report: {report.location}"
        sha256 = hashlib.sha256((main.sha256 + report.sha256).encode()).hexdigest()
    examples = {split: Examples(pairs=pairs) for split, pairs in made.items()}
    drops = main.parsed.left_out + (report.parsed.left_out if report is not None else ())
    drops += _drops(main, made) if "train" in made else ()
    return Dataset(main.name, examples, drops, sha256, origin)


def _listed(names: Iterable[str] | None) -> str:
    return "any" if names is None else ", ".join(sorted(names))


def _check_present(
    location: str, kind: str, asked: Sequence[str] | None, present: set[str]
) -> None:
    if isinstance(asked, str):
        raise ConfigError(f"{kind} {asked!r} is a text; give a list of names")
    allowed = f"(there are: {_listed(present)})"
    problems = tuple(
        f"{location}: unknown {kind} {name!r}{nearest(name, present)} {allowed}"
        for name in asked or ()
        if name not in present
    )
    if problems:
        raise DataError("\n".join(problems), problems)
    if asked is not None and not asked:
        raise ConfigError(f"the list of {kind} names is empty; leave it out to keep all")


def _split(main: _Loaded, settings: SplitSettings) -> Splits:
    """Splits as the file marks them, else made here."""
    if not main.parsed.marks:
        return split_pairs(main.pairs, settings)
    return _marked(main, ("train", "select", "report"))


def _split_for_training(main: _Loaded, settings: SplitSettings) -> Splits:
    if not main.parsed.marks:
        return split_for_training(main.pairs, settings)
    return _marked(main, ("train", "select"))


def _marked(main: _Loaded, names: Sequence[str]) -> Splits:
    marks = main.parsed.marks
    made = {
        name: tuple(
            p for p in main.pairs if marks[p.id] == name and (name == "report" or fits_training(p))
        )
        for name in names
    }
    empty = [name for name, pairs in made.items() if not pairs]
    if empty:
        raise DataError(
            f"{main.location}: its split column leaves {_listed(empty)} empty; mark rows with each "
            f"of {', '.join(names)}, or take the column out and let unskew split"
        )
    return made


def _drops(main: _Loaded, made: Splits) -> tuple[Drop, ...]:
    """Pairs of the main source that are not trained on although they could be in the file."""
    placed = {pair.id for pairs in made.values() for pair in pairs}
    drops = []
    for pair in main.pairs:
        reason = main.parsed.unfit.get(pair.id)
        if reason is not None:
            where = "kept for evaluation" if pair.id in placed else "left out"
            drops.append(Drop(pair.id, f"{reason}; {where}"))
        elif pair.id not in placed:
            drops.append(Drop(pair.id, "marked for the report split, which another data set fills"))
    return tuple(drops)
