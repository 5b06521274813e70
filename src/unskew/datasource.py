"""Where a scoring finds its data, and what of it counts as evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unskew.assemble import data_for, with_neutral_text
from unskew.data.load import load_dataset
from unskew.data.measured import MEASURED, measured_format
from unskew.data.splits import DEFAULT_SPLITS
from unskew.errors import ConfigError, LeakageError
from unskew.hub.artifacts import digests, read_seen
from unskew.schema import DataConfig
from unskew.types import Dataset, Drop
from unskew.world_names import WORLDS
from unskew.worlds import world_dataset


@dataclass(frozen=True, slots=True)
class DataSource:
    """What to score on, as `load_dataset` takes it."""

    name_or_path: str
    format: str = "auto"
    columns: Mapping[str, str] | None = None
    categories: Sequence[str] | None = None
    tasks: Sequence[str] | None = None

    def load(self, *learners: str | Path | None, selects: bool = False) -> Dataset:
        """The data set, without the pairs that an adapter or model learned from or was chosen by.

        Args:
            *learners: Folders that may hold a list of such pairs.
            selects: Set aside the select split that a run on these data has, whoever saw it; the
                rest is reported on.

        Raises:
            LeakageError: They learned from all of them.
            ConfigError: These data have no select split.
        """
        if self.name_or_path in WORLDS:
            given = {"format": self.format != "auto", "columns": self.columns}
            settings = [name for name, is_given in given.items() if is_given]
            return world_dataset(self.name_or_path, settings)
        if (found := measured_format(self.name_or_path, self.format)) is not None:
            pairs_only = {"columns": self.columns, "categories": self.categories}
            given = [name for name, value in {**pairs_only, "tasks": self.tasks}.items() if value]
            if given:
                raise ConfigError(f"{found} has no {', '.join(given)}; leave them out")
            if selects:
                raise ConfigError(f"{found} is for reports alone, so nothing can be chosen on it")
            return with_neutral_text(MEASURED[found].load(self.name_or_path))
        whole = load_dataset(
            self.name_or_path,
            format=self.format,
            columns=self.columns,
            categories=self.categories,
            tasks=self.tasks,
            splits=DEFAULT_SPLITS if selects else None,
        )
        return with_neutral_text(_unseen(whole, [Path(f) for f in learners if f is not None]))


@dataclass(frozen=True, slots=True)
class RunData:
    """The report split of a run, so that what is measured on it stands beside that run."""

    settings: DataConfig

    @property
    def name_or_path(self) -> str:
        """Where the run's pairs are."""
        return self.settings.name_or_path

    def load(self, *learners: str | Path | None, selects: bool = False) -> Dataset:
        """As `DataSource.load`, but with nothing of the run's train split."""
        whole = data_for(self.settings)
        kept = {"report", "select"} if selects else {"report"}
        splits = {name: e for name, e in whole.splits.items() if name in kept}
        whole = replace(whole, splits=splits)
        return _unseen(whole, [Path(f) for f in learners if f is not None])


def _unseen(whole: Dataset, learners: Sequence[Path]) -> Dataset:
    """The pairs to report on that nobody learned from, the others as drops."""
    by_learner = {folder: read_seen(folder) for folder in learners}
    seen = set().union(*by_learner.values())
    report, train = whole.splits["report"], whole.splits.get("train")
    if train is not None:
        report = replace(report, pairs=(*report.pairs, *train.pairs))
    pairs = tuple(p for p in report.pairs if not digests([p]) & seen)
    if seen and not pairs:
        who = " and ".join(str(folder) for folder, own in by_learner.items() if own)
        raise LeakageError(
            f"{who} was trained on or chosen by all {len(report.pairs)} pairs of {whole.source}; "
            "name other data"
        )
    kept = {p.id for p in pairs}
    why = "the model or adapter learned from it"
    drops = [Drop(p.id, why) for p in report.pairs if p.id not in kept]
    selects = {name: whole.splits[name] for name in whole.splits.keys() & {"select"}}
    splits = {**selects, "report": replace(report, pairs=pairs)}
    return replace(whole, splits=splits, drops=(*whole.drops, *drops))
