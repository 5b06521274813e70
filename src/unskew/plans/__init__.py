"""A plan is one YAML file here: which recipes run on which models with which seeds, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from unskew import config
from unskew.errors import UnknownName
from unskew.published import BASE, Published, same_model
from unskew.recipes import parse_yaml, read_yaml
from unskew.registry import nearest
from unskew.schema import RunConfig

__all__ = ["Contender", "Plan", "Task", "only", "plan_names", "read_plan", "word"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Contender(_Strict):
    """One row of the table: a recipe, and what is set otherwise in it."""

    name: str
    recipe: str
    settings: tuple[str, ...] = ()
    """`key=value`, over those of all contenders."""
    for_models: dict[str, tuple[str, ...]] = {}
    """Model -> `key=value` of this contender on that model alone."""
    num_seeds: PositiveInt | None = None
    """Of the plan's seeds the first so many, for a contender that draws nothing; all if null."""


@dataclass(frozen=True, slots=True)
class Task:
    """One run of a plan."""

    contender: Contender = field(hash=False)
    model: str
    seed: int
    overrides: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Of the run, in the folder of the plan."""
        return Path(word(self.model), word(self.contender.name), f"seed={self.seed}")

    @property
    def label(self) -> str:
        """For a line that tells of it."""
        return f"{self.contender.name} on {self.model}, seed {self.seed}"


class Plan(_Strict):
    """Contenders, models and seeds: a run for each combination."""

    description: str
    source: str
    models: list[str] = Field(min_length=1)
    """Hub ids, folders, `world` or `world-questions`."""
    data: str
    report_data: str | None = None
    """Report on these data instead of a part of `data`."""
    seeds: list[NonNegativeInt] = Field(min_length=1)
    settings: list[str] = []
    """`key=value` of all runs."""
    for_models: dict[str, tuple[str, ...]] = {}
    """Model -> `key=value` of all runs on it, e.g. its precision."""
    published: Published | None = None
    """A paper's numbers, shown beside ours."""
    beside: list[str] = Field(default=[], max_length=7)
    """Contenders whose runs with the first seed are compared item by item, too; a page has no
    more colours."""
    contenders: list[Contender] = Field(min_length=1)
    last_settings: list[str] = []
    """`key=value` of all runs, over everything above: what is given on the command line."""

    @model_validator(mode="after")
    def _names_are_folders(self) -> Self:
        for what, names in (
            ("contenders", [c.name for c in self.contenders]),
            ("models", self.models),
            ("seeds", [str(seed) for seed in self.seeds]),
        ):
            folders = [word(name) for name in names]
            if twice := sorted({n for n in folders if folders.count(n) > 1}):
                raise ValueError(
                    f"{what}: {twice[0]!r} is there twice; give each a name of its own"
                )
        names = [c.name for c in self.contenders]
        for name in self.beside:
            if name not in names:
                raise ValueError(f"beside: no contender {name!r}{nearest(name, names)}")
        for row in self.published.rows if self.published else ():
            if row.method not in (BASE, *names):
                hint = nearest(row.method, names)
                raise ValueError(f"published: no contender {row.method!r}{hint}")
        return self

    def tasks(self) -> Iterator[Task]:
        """Every run: all contenders with the first seed before any with the second."""
        for model in self.models:
            for number, seed in enumerate(self.seeds):
                for contender in self.contenders:
                    if number >= (contender.num_seeds or len(self.seeds)):
                        continue
                    overrides = (
                        *self.settings,
                        *_for(self.for_models, model),
                        *contender.settings,
                        *_for(contender.for_models, model),
                        *self.last_settings,
                        f"seed={seed}",
                    )
                    yield Task(contender, model, seed, overrides)

    def configuration(self, task: Task) -> RunConfig:
        """The checked settings of one run.

        Raises:
            ConfigError: The recipe is unknown or a setting is wrong; the message names the run.
        """
        options = {
            "model.name_or_path": task.model,
            "data.name_or_path": self.data,
            **({"data.report_data": self.report_data} if self.report_data else {}),
        }
        try:
            return config.load(task.contender.recipe, options=options, overrides=task.overrides)
        except config.ConfigError as error:
            raise type(error)(f"contender {task.contender.name!r}: {error}") from error


def plan_names() -> tuple[str, ...]:
    """Plans that come with unskew."""
    folder = resources.files("unskew.plans")
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")))


def read_plan(name: str) -> Plan:
    """A plan that comes with unskew, or a YAML file of one's own.

    Raises:
        UnknownName: No such plan; the message lists all.
        ConfigError: It cannot be read, or a field is missing, unknown or wrong.
    """
    if name.endswith((".yaml", ".yml")):
        return config.checked(Plan, read_yaml(Path(name)))
    if name not in plan_names():
        raise UnknownName(
            f"unknown plan {name!r}{nearest(name, plan_names())} "
            f"(there are: {', '.join(plan_names())}; or give a .yaml file)"
        )
    text = resources.files("unskew.plans").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return config.checked(Plan, parse_yaml(text))


def only(
    plan: Plan,
    *,
    models: Sequence[str] = (),
    seeds: Sequence[int | str] = (),
    data: str | None = None,
    report_data: str | None = None,
    settings: Sequence[str] = (),
) -> Plan:
    """The plan with other models, seeds, data or settings; what is not given stays.

    Other data without `report_data` are reported on by a part of their own.

    Raises:
        ConfigError: A model or seed is named twice.
    """
    given = {
        "models": list(models),
        "seeds": list(seeds),
        "data": data,
        "report_data": report_data,
        "last_settings": list(settings),
    }
    changed = {key: value for key, value in given.items() if value}
    if data:
        changed["report_data"] = report_data
    return config.checked(Plan, {**plan.model_dump(), **changed})


def _for(settings: Mapping[str, Sequence[str]], model: str) -> Iterator[str]:
    for name, own in settings.items():
        if same_model(name, model):
            yield from own


def word(text: str) -> str:
    """A text as the name of one folder."""
    kept = "".join(c if c.isalnum() or c in "-+._=" else "_" for c in text)
    return kept.strip(".")[:80] or "_"
