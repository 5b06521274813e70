"""`unskew compare` with recipes among its runs: they are run first, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unskew.comparison.compare import compare, place_in
from unskew.comparison.lineup import finished
from unskew.comparison.result import Compared
from unskew.config import load
from unskew.errors import ConfigError
from unskew.executing import BASELINES, Executor, Job, LocalExecutor, Unlearning, run_all
from unskew.recipes import recipe_names
from unskew.stages.workshop import Tell
from unskew.world.teach import taught_world
from unskew.world_names import worlds_among

__all__ = ["Contest", "compare_recipes", "is_recipe"]


@dataclass(frozen=True, slots=True)
class Contest:
    """What came of it."""

    compared: Compared | None
    """None where not one run has a result."""
    folder: Path
    """Of the comparison."""
    failed: tuple[str, ...]
    """Recipes without a result; why was told, and stands beside their folders."""


def is_recipe(named: str | Path) -> bool:
    """Whether it is the name or the YAML file of a recipe; a folder is a run, whatever its name."""
    path = Path(named)
    return not path.is_dir() and (str(named) in recipe_names() or path.suffix in (".yaml", ".yml"))


def compare_recipes(  # noqa: PLR0913 - one parameter for each option
    entrants: Sequence[str | Path],
    *,
    model: str | None,
    data: str | None,
    output_dir: str | Path,
    baseline: str | None = None,
    seed: int = 0,
    settings: Sequence[str] = (),
    executor: Executor | None = None,
    retries: int = 0,
    tell: Tell = lambda _: None,
) -> Contest:
    """Run recipes on one model and data, and compare them with each other and with finished runs.

    Called again on the same folder it goes on, as a sweep does; each call writes a comparison of
    its own.

    Args:
        entrants: Recipes by name or YAML file, and folders of finished runs.
        model: See `unskew.unlearn`.
        data: See `unskew.unlearn`.
        output_dir: Holds the runs, and `compare/` (then `compare-2/`, ...).
        baseline: Name of a recipe, a run's folder, or `base`; every pair is compared if None.
        seed: Of the runs, of bootstrap and test.
        settings: `key=value` of all runs that are made.
        executor: What makes them; two side by side, with one thread each, if None.
        retries: How often one that failed is tried again.
        tell: Given a line before and after each run.

    Raises:
        ConfigError: Model or data are missing, or a recipe or setting is wrong: all are checked
            before the first is run.
        DataError: A folder holds no finished run, or the runs do not belong together.
    """
    if model is None or data is None:
        raise ConfigError("a recipe among the runs needs --model and --data to be run on")
    recipes = [str(e) for e in entrants if is_recipe(e)]
    folders = [Path(e) for e in entrants if not is_recipe(e)]
    for place in folders:
        finished(str(place), place)
    named = {Path(recipe).stem: recipe for recipe in recipes}
    if len(named) < len(recipes):
        raise ConfigError("two of the recipes have one name; rename a file, or name it once")
    options = {"model.name_or_path": model, "data.name_or_path": data}
    overrides = [*settings, f"seed={seed}"]
    loaded = {n: load(r, options=options, overrides=overrides) for n, r in named.items()}
    for name in worlds_among(model, data):
        # Else each of the first runs would teach it.
        taught_world(name=name)
    root = Path(output_dir)
    shared = (root / BASELINES).resolve()
    jobs = [Job(name, Unlearning(own, shared), root / name) for name, own in loaded.items()]
    ended = run_all(jobs, executor or LocalExecutor(), retries=retries, tell=tell)
    made = {job.label: job.folder for job in jobs if ended[job.folder].error is None}
    failed = tuple(job.label for job in jobs if job.label not in made)
    target = place_in(root)
    if not made and not folders:
        return Contest(None, target, failed)
    against = None if baseline is None else str(made.get(baseline, baseline))
    if baseline in named and baseline not in made:
        tell(f"{baseline} has no result to hold the others against, so every pair is compared")
        against = None
    compared = compare([*made.values(), *folders], output_dir=target, baseline=against, seed=seed)
    return Contest(compared, target, failed)
