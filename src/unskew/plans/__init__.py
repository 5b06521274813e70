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
    """One row of the table: a recipe and what is set otherwise in it, or what another row left."""

    name: str
    recipe: str | None = None
    carry: str | None = None
    """In place of a recipe: the contender whose run on the model's base (`bases`), seed by seed,
    leaves what is put on the model as it is."""
    settings: tuple[str, ...] = ()
    """`key=value`, over those of all contenders."""
    for_models: dict[str, tuple[str, ...]] = {}
    """Model -> `key=value` of this contender on that model alone."""
    num_seeds: PositiveInt | None = None
    """Of the plan's seeds the first so many, for a contender that draws nothing; all if null."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if (self.recipe is None) == (self.carry is None):
            raise ValueError(
                f"contender {self.name!r} needs a recipe, or carry with the name of a contender, "
                "and not both"
            )
        own = [name for name in ("settings", "for_models", "num_seeds") if getattr(self, name)]
        if self.carry and own:
            raise ValueError(
                f"contender {self.name!r} carries {self.carry!r} and has no {own[0]} of its own; "
                f"give them to {self.carry!r}"
            )
        return self


@dataclass(frozen=True, slots=True)
class Task:
    """One run of a plan."""

    contender: Contender = field(hash=False)
    model: str
    seed: int
    overrides: tuple[str, ...]
    source: Task | None = None
    """The run on the model's base that leaves what this one carries over; None for a recipe's."""

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
    bases: dict[str, str] = {}
    """Model -> the base that it was tuned from, for contenders that carry."""
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

    @model_validator(mode="after")
    def _what_is_carried_has_a_base(self) -> Self:
        carrying = [c for c in self.contenders if c.carry is not None]
        if self.bases and not carrying:
            raise ValueError("bases: no contender carries anything from them; leave them out")
        made = [c.name for c in self.contenders if c.recipe is not None]
        for contender in carrying:
            if contender.carry not in made:
                hint = nearest(contender.carry or "", made)
                raise ValueError(
                    f"contender {contender.name!r}: carry names no contender with a recipe, "
                    f"{contender.carry!r}{hint}"
                )
        for model in self.models if carrying else ():
            self._check_base(model, carrying[0])
        return self

    def _check_base(self, model: str, contender: Contender) -> None:
        base = self._base(model)
        if base is None:
            raise ValueError(
                f"contender {contender.name!r} carries {contender.carry!r} over from the base of "
                f"{model!r}, which is not named; add it to bases, or give --bases, one for each of "
                "the models, in order"
            )
        if base == model:
            raise ValueError(f"bases: {model!r} is its own base; name the one it was tuned from")
        for other in (*self.models, *self.bases.values()):
            if word(other) == word(base) and other != base:
                raise ValueError(f"bases: {base!r} would share a folder with {other!r}; rename one")

    def tasks(self) -> Iterator[Task]:
        """Every row's runs: all contenders with the first seed before any with the second."""
        for model in self.models:
            for number, seed in enumerate(self.seeds):
                for contender in self.contenders:
                    made = self._made_by(contender)
                    if number < (made.num_seeds or len(self.seeds)):
                        yield self._task(contender, model, seed)

    def runs(self) -> Iterator[Task]:
        """All that has to be run: the tasks, each behind the one that it carries from, once."""
        found = [task for own in self.tasks() for task in (own.source, own) if task is not None]
        yield from {task.folder: task for task in found}.values()

    def configuration(self, task: Task) -> RunConfig:
        """The checked settings of one run; of one that carries, those that hold on the sibling.

        Raises:
            ConfigError: The recipe is unknown, a setting is wrong, or what is carried would be
                measured otherwise than where it comes from; the message names the run.
        """
        options = {
            "model.name_or_path": task.model,
            "data.name_or_path": self.data,
            **({"data.report_data": self.report_data} if self.report_data else {}),
        }
        recipe = self._made_by(task.contender).recipe
        assert recipe is not None
        try:
            own = config.load(recipe, options=options, overrides=task.overrides)
        except config.ConfigError as error:
            raise type(error)(f"contender {task.contender.name!r}: {error}") from error
        if task.source is not None:
            there = self.configuration(task.source)
            if (own.data, own.evaluation) != (there.data, there.evaluation):
                raise config.ConfigError(
                    f"contender {task.contender.name!r}: {task.model} and {task.source.model} have "
                    "other settings of data or evaluation (for_models), and a transfer is measured "
                    "like the run it carries from; give both the same"
                )
        return own

    def _task(self, contender: Contender, model: str, seed: int) -> Task:
        made, source = self._made_by(contender), None
        if made is not contender:
            base = self._base(model)
            assert base is not None
            source = self._task(made, base, seed)
        overrides = (
            *self.settings,
            *_for(self.for_models, model),
            *made.settings,
            *_for(made.for_models, model),
            *self.last_settings,
            f"seed={seed}",
        )
        return Task(contender, model, seed, overrides, source)

    def _made_by(self, contender: Contender) -> Contender:
        """The contender whose recipe makes what this one has: another, where it carries."""
        if contender.carry is None:
            return contender
        return next(c for c in self.contenders if c.name == contender.carry)

    def _base(self, model: str) -> str | None:
        return next((b for name, b in self.bases.items() if same_model(name, model)), None)


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
    bases: Sequence[str] = (),
    settings: Sequence[str] = (),
) -> Plan:
    """The plan with other models, seeds, data or settings; what is not given stays.

    Other data without `report_data` are reported on by a part of their own. `bases` are those of
    the models, in their order.

    Raises:
        ConfigError: A model or seed is named twice, or a base is missing or one too many.
    """
    siblings = list(models) or plan.models
    if bases and len(bases) != len(siblings):
        raise config.ConfigError(
            f"bases: {len(bases)} for {len(siblings)} models; name one for each, in order"
        )
    given = {
        "models": list(models),
        "seeds": list(seeds),
        "data": data,
        "report_data": report_data,
        "bases": dict(zip(siblings, bases, strict=False)),
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
