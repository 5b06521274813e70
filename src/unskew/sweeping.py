"""A grid of settings on one recipe: a run for each point, then all of them beside each other."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unskew import config
from unskew.comparison.compare import compare, place_in
from unskew.comparison.front import as_image, panels
from unskew.comparison.lineup import finished
from unskew.errors import ConfigError
from unskew.executing import BASELINES, Ended, Executor, Job, ThisProcess, Unlearning, run_all
from unskew.files import write_bytes, write_json
from unskew.reports.record import RunRecord
from unskew.run import AFTER
from unskew.stages.workshop import Tell
from unskew.world.teach import taught_world
from unskew.world_names import worlds_among

SWEEP_FILE = "sweep.json"
FRONT = {"front.png": "png", "front.svg": "svg"}
"""Bias against damage of all that is compared: name of the file -> its form."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a sweep."""

    name: str
    """Of its folder."""
    overrides: tuple[str, ...]
    error: str | None = None
    """Why it has no result; None where it has one."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep left."""

    folder: Path
    points: tuple[Point, ...]
    compared: Path | None
    """Folder of the comparison; None where fewer than two runs have a result."""
    fronts: tuple[Path, ...]
    """Pictures of bias against damage; none where nothing is compared, or no damage measured."""

    @property
    def failed(self) -> list[Point]:
        """The points without a result."""
        return [point for point in self.points if point.error is not None]


def sweep(  # noqa: PLR0913 - one parameter for each option
    recipe: str,
    grid: Mapping[str, Sequence[Any]],
    *,
    model: str | None = None,
    data: str | None = None,
    output_dir: str | Path,
    overrides: Sequence[str] = (),
    beside: Sequence[str | Path] = (),
    executor: Executor | None = None,
    retries: int = 0,
    tell: Tell = lambda _: None,
) -> Swept:
    """Run a recipe at every point of a grid, then compare the runs that have a result.

    Called again on the same folder it goes on: finished runs stay, cut-off ones resume, failed
    ones are tried again. A run that fails is told and the others go on.

    Args:
        recipe: Name of a recipe or a YAML file.
        grid: Dotted setting -> values, e.g. `{"stages.mask.choose.fraction": [0.1, 0.5]}`.
        model: See `unskew.unlearn`.
        data: See `unskew.unlearn`.
        output_dir: One folder in it for each point, `sweep.json`, `compare/`, `front.png`, `.svg`.
        overrides: `key=value` strings for all points.
        beside: Folders of further finished runs that are compared and drawn, too.
        executor: What runs them, each with a log beside its folder; one after the other in this
            process if None.
        retries: How often a run that failed is tried again.
        tell: Given a line before each run and each of its stages.

    Raises:
        ConfigError: The grid has no point, names a setting twice under two spellings, or a point
            is no valid configuration: all are checked before the first is run.
        DataError: A run beside is not finished, or did not start from the same data and model.
    """
    for place in beside:
        finished(str(place), Path(place))
    folder, points = Path(output_dir), points_of(grid)
    named = {"model.name_or_path": model, "data.name_or_path": data}
    options = {key: value for key, value in named.items() if value is not None}
    settings = {
        point: config.load(recipe, options=options, overrides=[*overrides, *point.overrides])
        for point in points
    }
    names = {n for s in settings.values() for n in (s.model.name_or_path, s.data.name_or_path)}
    if executor is not None:
        for name in worlds_among(*sorted(names)):
            # Else each of the first runs would teach it.
            taught_world(name=name)
    shared = (folder / BASELINES).resolve()
    jobs = [Job(p.name, Unlearning(settings[p], shared), folder / p.name) for p in points]

    def note(ended: Mapping[Path, Ended]) -> list[Point]:
        """The points that have ended, which `sweep.json` shows while others go on."""
        places = [(point, ended.get(folder / point.name)) for point in points]
        done = [replace(point, error=how.error) for point, how in places if how is not None]
        write_json(folder / SWEEP_FILE, [_as_json(folder, p) for p in done])
        return done

    how = executor or ThisProcess(tell)
    done = note(run_all(jobs, how, retries=retries, tell=tell, noted=note))
    return Swept(folder, tuple(done), *_compared(folder, done, beside, tell))


def points_of(grid: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination of the grid's values, with a name for the folder of each.

    Raises:
        ConfigError: There is none, or two have one name.
    """
    if not grid or not all(grid.values()):
        raise ConfigError("the grid has no point; give at least one setting with values")
    labels = {key: key.rpartition(".")[2] for key in grid}
    if len(set(labels.values())) < len(labels):
        labels = {key: key for key in grid}
    points = [
        Point(
            ",".join(f"{labels[k]}={_word(v)}" for k, v in zip(grid, values, strict=True)),
            tuple(f"{k}={json.dumps(v)}" for k, v in zip(grid, values, strict=True)),
        )
        for values in itertools.product(*grid.values())
    ]
    names = [point.name for point in points]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"the grid has {twice[0]} twice; give each value once")
    return points


def _word(value: Any) -> str:
    """A value as a part of a folder's name."""
    kept = "".join(c if c.isalnum() or c in "-+._" else "_" for c in str(value))
    return kept[:60] or "_"


def _as_json(folder: Path, point: Point) -> dict[str, Any]:
    return {
        "name": point.name,
        "folder": str(folder / point.name),
        "overrides": list(point.overrides),
        "error": point.error,
    }


def _compared(
    folder: Path, points: Sequence[Point], beside: Sequence[str | Path], tell: Tell
) -> tuple[Path | None, tuple[Path, ...]]:
    """Folder of the comparison, and the pictures."""
    own = [folder / p.name for p in points if p.error is None and _has_result(folder / p.name)]
    runs = [*own, *map(Path, beside)]
    if not own or len(runs) < 2:
        return None, ()
    target = place_in(folder)
    tell(f"comparing {len(runs)} runs")
    compared = compare(runs, output_dir=target)
    found = panels(compared)
    if not found:
        return target, ()
    named = {compared.lineup.named(str(place)) for place in beside}
    for name, form in FRONT.items():
        write_bytes(folder / name, as_image(found, form, named))
    return target, tuple(folder / name for name in FRONT)


def _has_result(folder: Path) -> bool:
    return bool(RunRecord.load(folder).find(phase=AFTER, category=None))
