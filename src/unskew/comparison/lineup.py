"""Which runs are compared, and whether they may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unskew.errors import ConfigError, DataError
from unskew.registry import nearest
from unskew.reports.findings import BEFORE, ORACLE, REPORT, final_phase, phases
from unskew.reports.record import RunRecord
from unskew.reports.storage import has_samples

__all__ = ["BASE", "Entrant", "Lineup", "finished", "line_up"]

BASE = "base"
_SAME_BASELINE = 1e-3
"""Relative difference of two measurements of one model that rounding and hardware explain."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """One model that takes part: a run in the phase that it stands for."""

    name: str
    folder: Path
    phase: str
    record: RunRecord


@dataclass(frozen=True, slots=True)
class Lineup:
    """All that take part, and what a reader must know of them."""

    base: Entrant | None
    """The model before the runs; None where no run measured it."""
    runs: tuple[Entrant, ...]
    """Each with the controls that it measured behind it."""
    oracle: Entrant | None
    """A model that never had the bias. Shown, and not compared."""
    notes: tuple[str, ...] = ()

    @property
    def compared(self) -> tuple[Entrant, ...]:
        """The base and the runs."""
        return self.runs if self.base is None else (self.base, *self.runs)

    @property
    def shown(self) -> tuple[Entrant, ...]:
        """The base, the runs and the oracle."""
        return self.compared if self.oracle is None else (*self.compared, self.oracle)

    def pairs(self, baseline: str | None) -> list[tuple[str, str]]:
        """Names of the two in each comparison; the second is held against the first.

        Args:
            baseline: Name or folder of the one the others are held against; None for every pair.

        Raises:
            ConfigError: No such run.
        """
        names = [entrant.name for entrant in self.compared]
        if baseline is None:
            return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        chosen = self.named(baseline)
        return [(chosen, other) for other in names if other != chosen]

    def named(self, name_or_folder: str) -> str:
        """The name of one of the compared.

        Raises:
            ConfigError: No such run.
        """
        for entrant in self.compared:
            if entrant.name == name_or_folder:
                return entrant.name
        for run in self.runs:
            if run.folder.resolve() == Path(name_or_folder).resolve():
                return run.name
        names = [entrant.name for entrant in self.compared]
        raise ConfigError(
            f"the baseline {name_or_folder!r} is none of the runs{nearest(name_or_folder, names)} "
            f"(there are: {', '.join(names)})"
        )


def line_up(folders: Sequence[str | Path]) -> Lineup:
    """Read the records of the runs and check that a comparison of them means something.

    Args:
        folders: Of finished runs.

    Raises:
        ConfigError: No run, one run twice, or a single run with nothing to compare it with.
        DataError: A record cannot be read, a run is not finished, or the runs have not measured
            on the same data, or did not start from the same model.
    """
    paths = [Path(folder) for folder in folders]
    resolved = [path.resolve() for path in paths]
    for path in paths:
        if resolved.count(path.resolve()) > 1:
            raise ConfigError(f"{path} is named twice; name each run once")
    mains = [finished(name, path) for name, path in zip(names_of(resolved), paths, strict=True)]
    runs = [entrant for main in mains for entrant in (main, *_controls(main))]
    _same_data(runs)
    started = [run for run in mains if BEFORE in phases(run.record)]
    _same_base(started)
    if len(runs) + bool(started) < 2:
        raise ConfigError(
            "one run without a phase `before` has nothing to be compared with; name a second run"
        )
    base, oracle = (
        next((_in_phase(r, phase, name) for r in runs if phase in phases(r.record)), None)
        for phase, name in ((BEFORE, BASE), (ORACLE, ORACLE))
    )
    notes = (*_other_models(runs, base), *_other_baselines(started))
    return Lineup(base, tuple(runs), oracle, notes)


def names_of(folders: Sequence[Path]) -> list[str]:
    """The shortest end of each path that names no other of them."""

    def is_name(end: tuple[str, ...]) -> bool:
        alone = sum(other.parts[-len(end) :] == end for other in folders) == 1
        return alone and end not in ((BASE,), (ORACLE,))

    ends = ([f.parts[-n:] for n in range(1, len(f.parts) + 1)] for f in folders)
    return ["/".join(next(filter(is_name, of_folder), of_folder[-1])) for of_folder in ends]


def finished(name: str, folder: Path) -> Entrant:
    """A finished run in the phase that it stands for.

    Raises:
        DataError: Its record cannot be read, or it is not finished.
    """
    record = RunRecord.load(folder)
    phase = final_phase(record)
    if phase is None:
        found = ", ".join(phases(record)) or f"none on the {REPORT} split"
        raise DataError(
            f"{folder} holds no finished run (phases: {found}); go on with it by --resume, or "
            "leave it out"
        )
    return Entrant(name, folder, phase, record)


def _controls(run: Entrant) -> list[Entrant]:
    """What a run measured beside its result, with the scores of single examples."""
    known = (BEFORE, ORACLE, run.phase)
    others = [p for p in phases(run.record) if p not in known and has_samples(run.folder, p)]
    return [_in_phase(run, phase, f"{run.name}: {phase}") for phase in others]


def _in_phase(run: Entrant, phase: str, name: str) -> Entrant:
    return Entrant(name, run.folder, phase, run.record)


def _same_data(runs: Sequence[Entrant]) -> None:
    first = runs[0] if runs else None
    for run in runs[1:]:
        assert first is not None
        if run.record.data.sha256 != first.record.data.sha256:
            told = " and ".join(
                f"{r.folder} on {r.record.data.name} ({r.record.data.source}, SHA-256 "
                f"{r.record.data.sha256[:12]})"
                for r in (first, run)
            )
            raise DataError(
                f"the runs measured on different data: {told}; evaluate both on the same file"
            )


def _same_base(runs: Sequence[Entrant]) -> None:
    models = [(run, run.record.model) for run in runs]
    for run, model in models[1:]:
        first_run, first = models[0]
        if model and first and model.fingerprint != first.fingerprint:
            raise DataError(
                f"the runs start from different models: {first_run.folder} from "
                f"{first.name_or_path} (fingerprint {first.fingerprint[:12]}) and {run.folder} "
                f"from {model.name_or_path} (fingerprint {model.fingerprint[:12]}); compare runs "
                "of one base model"
            )


def _other_models(runs: Sequence[Entrant], base: Entrant | None) -> list[str]:
    """Scorings of models other than the base: allowed, and to be known."""
    known = {run.name: run.record.model for run in runs}
    first = base.record.model if base else next((m for m in known.values() if m), None)
    return [
        f"{name} scores {model.name_or_path}, whose weights are not those of "
        f"{first.name_or_path}: distances to the base are distances to its own"
        for name, model in known.items()
        if model and first and model.fingerprint != first.fingerprint
    ]


def _other_baselines(started: Sequence[Entrant]) -> list[str]:
    """Runs whose measurement of the base is not that of the first."""
    notes = []
    for run in started[1:]:
        first = {_key(row): row for row in started[0].record.find(phase=BEFORE, category=None)}
        apart = [
            row
            for row in run.record.find(phase=BEFORE, category=None)
            if (other := first.get(_key(row))) is not None
            and other.n == row.n
            and abs(other.value - row.value) > _SAME_BASELINE * max(1.0, abs(row.value))
        ]
        if apart:
            notes.append(
                f"{run.name} measured the base otherwise than {started[0].name} in {len(apart)} "
                f"numbers, first {'.'.join(_key(apart[0]))}; the base shown is that of "
                f"{started[0].name}"
            )
    return notes


def _key(row: object) -> tuple[str, ...]:
    fields = ("benchmark", "variant", "metric", "category", "split")
    return tuple(getattr(row, name) for name in fields)
