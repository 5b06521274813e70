"""What a run is: recipe, file and overrides merged, checked at once, hashed.

Later sources win: recipe, then `--config FILE`, then options, then `key=value` overrides. Nothing
here imports torch; names of parts are checked when `run` builds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from unskew import editor_settings, judge_settings, schema
from unskew.errors import ConfigError, UnknownName
from unskew.recipes import Node, merged, parse_yaml, read_recipe, read_yaml
from unskew.registry import nearest
from unskew.schema import RunConfig

Settings = TypeVar("Settings", bound=BaseModel)
STAGES: Mapping[str, type[BaseModel]] = {
    "train": schema.TrainStage,
    "saliency": schema.SaliencyStage,
    "edit": schema.EditStage,
    "meta_edit": schema.MetaEditStage,
    "project": schema.ProjectStage,
    "decode": schema.DecodeStage,
}


def load(
    recipe: str,
    *,
    file: Path | None = None,
    options: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> RunConfig:
    """Merge and check; every mistake is reported at once, with its dotted path.

    Args:
        recipe: Name of a recipe, or a YAML file.
        file: More settings in YAML.
        options: Dotted path -> value, e.g. `{"model.name_or_path": "gpt2"}`.
        overrides: `key=value` with a dotted key; `objective.beta=0.2` is found inside the stages.

    Raises:
        ConfigError: A setting is unknown, missing or out of range.
    """
    settings = read_recipe(recipe)
    if file is not None:
        settings = merged(settings, read_yaml(file))
    for key, value in (options or {}).items():
        _assign(settings, key, value)
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {item!r} is not of the form key=value")
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"override {item!r}: {text!r} is no YAML value; quote it") from error
        _assign(settings, key.replace("-", "_"), value)
    return parse(settings)


def parse(settings: Mapping[str, Any]) -> RunConfig:
    """Check a complete mapping of settings; a `ConfigError` lists every mistake."""
    return checked(RunConfig, settings)


def checked(model: type[Settings], settings: Mapping[str, Any]) -> Settings:
    """A part of the configuration from a mapping.

    Raises:
        ConfigError: Lists every mistake.
    """
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(e) for e in error.errors())) from error


def _assign(settings: Node, key: str, value: Any) -> None:
    path = key.split(".")
    if path[0] not in RunConfig.model_fields:
        path = [*_stage_holding(settings, path[0], key), *path]
    if path[:2] != ["stages", "*"]:
        _put(settings, path, key, value)
        return
    found = [str(i) for i, kind in _kinds(settings) if path[2] in STAGES[kind].model_fields]
    if not found:
        raise UnknownName(
            f"no stage of this recipe has the setting {path[2]!r}{_instead(settings, path[2])}"
        )
    for index in found:
        _put(settings, ["stages", index, *path[2:]], key, value)


def _instead(settings: Node, name: str) -> str:
    """How a recipe that chooses weights before it trains is held against other masks."""
    chosen = [settings["stages"][i] for i, kind in _kinds(settings) if kind == "saliency"]
    if name != "controls" or not chosen:
        return ""
    stage = chosen[0].get("name", "saliency")
    return (
        "; it trains under its mask, so each other mask is a run of its own: unskew sweep RECIPE "
        f"--grid stages.{stage}.control=[null,random,inverted,all]"
    )


def _put(settings: Node, path: Sequence[str], key: str, value: Any) -> None:
    node: Any = settings
    for name in path[:-1]:
        place: Any = _index(node, name, key) if isinstance(node, list) else name
        if isinstance(node, dict) and node.get(name) is None:
            node[name] = {}
        node = node[place]
        if not isinstance(node, dict | list):
            raise ConfigError(f"{key}: {name!r} is a single value; nothing lies below it")
    last: Any = _index(node, path[-1], key) if isinstance(node, list) else path[-1]
    node[last] = value


def _kinds(settings: Node) -> Iterator[tuple[int, str]]:
    """Position and kind of each stage; what kind is wrong is told when all is checked."""
    for index, stage in enumerate(settings.get("stages") or []):
        kind = str(stage.get("kind", "train")) if isinstance(stage, dict) else ""
        if kind in STAGES:
            yield index, kind


def _stage_holding(settings: Node, head: str, key: str) -> list[str]:
    """The stage that a setting named without one belongs to: the only one that has it."""
    known = {name for model in STAGES.values() for name in model.model_fields}
    if head not in known:
        hint = nearest(head, [*RunConfig.model_fields, *sorted(known)])
        raise UnknownName(f"unknown setting {key!r}{hint} (see unskew list)")
    having = [i for i, kind in _kinds(settings) if head in STAGES[kind].model_fields]
    if len(having) == 1:
        return ["stages", str(having[0])]
    stages = settings.get("stages") or []
    names = [stages[i].get("name", str(i)) for i in having]
    if not having:
        raise UnknownName(f"no stage of this recipe has the setting {key!r}")
    raise ConfigError(
        f"{key}: the stages {', '.join(names)} all have it; say stages.{names[0]}.{key} or the "
        "like, or stages.*. for all of them"
    )


def _index(items: list[Any], name: str, key: str) -> int:
    """Position in a list, given as a number or as the `name` of one of its nodes."""
    if name.isdigit() and int(name) < len(items):
        return int(name)
    names = [str(i.get("name")) if isinstance(i, dict) else str(i) for i in items]
    if name in names:
        return names.index(name)
    raise UnknownName(
        f"{key}: no entry {name!r}{nearest(name, names)} (there are: {', '.join(names)})"
    )


def _explain(error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    shown = location
    if location[:1] == ["stages"] and len(location) > 2:
        # Behind the position pydantic names the kind of stage it took.
        shown = [*location[:2], *location[3:]]
    path = ".".join(shown)
    if error["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"unknown setting {path!r}{nearest(location[-1], _fields_at(location[:-1]))}"
    if error["type"] == "missing":
        option = f"; give --{location[0]}" if location[0] in {"model", "data"} else ""
        return f"missing setting {path!r}{option}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        tag = str(error.get("ctx", {}).get("tag", ""))
        return f"{path}.kind must be one of {', '.join(STAGES)}{nearest(tag, STAGES)}"
    return f"{path}: {error['msg']}, got {error.get('input')!r}"


def _fields_at(location: Iterable[str]) -> list[str]:
    """Names of the settings below a path; empty where they are not fixed."""
    models: dict[str, Any] = {
        **STAGES,
        "model": schema.ModelConfig,
        "data": schema.DataConfig,
        "splits": schema.SplitConfig,
        "chunk": schema.ChunkConfig,
        "choice": schema.ChoiceConfig,
        "floors": schema.FloorConfig,
        "editor": editor_settings.EditorConfig,
        "evaluation": schema.EvaluationConfig,
        "judge": judge_settings.JudgeConfig,
        "second": judge_settings.JudgeModel,
        "training": schema.TrainSettings,
    }
    named = [name for name in location if not name.isdigit()]
    found = models.get(named[-1]) if named else RunConfig
    fields = getattr(found, "model_fields", None) or getattr(found, "__dataclass_fields__", {})
    return list(fields)
