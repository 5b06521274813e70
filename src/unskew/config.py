"""What a run is: recipe, file and overrides merged, checked at once, hashed.

Later sources win: recipe, then `--config FILE`, then options, then `key=value` overrides. Nothing
here imports torch; names of parts are checked when `run` builds them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unskew.errors import ConfigError, UnknownName
from unskew.recipes import Node, parse_yaml, read_recipe, read_yaml
from unskew.registry import nearest
from unskew.types import TrainSettings

WORLD = "world"
Settings = TypeVar("Settings", bound=BaseModel)
Dtype = Literal["float32", "bfloat16", "float16"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelConfig(_Strict):
    """The model to work on."""

    name_or_path: str
    """Hub id, folder, or `world` for the invented world's taught model."""
    revision: str | None = None
    """Branch, tag or commit of a hub repository."""
    dtype: Dtype = "float32"
    attn_implementation: str | None = None
    """Passed to transformers."""
    trust_remote_code: bool = False
    """Run code that comes with the model."""


class SplitConfig(_Strict):
    """Shares of train, select and report, cut by target and cluster."""

    train: float = Field(default=0.6, ge=0, le=1)
    select: float = Field(default=0.2, ge=0, le=1)
    report: float = Field(default=0.2, ge=0, le=1)
    seed: int = 0


class DataConfig(_Strict):
    """The pairs to learn from and to report on."""

    name_or_path: str
    """File, folder, hub id, or `world`."""
    format: Literal["auto", "stereoset", "crows_pairs", "jsonl", "csv", "datasets"] = "auto"
    columns: dict[str, str] | None = None
    """Our column name -> the file's, for JSONL, CSV and datasets folders."""
    categories: list[str] | None = None
    """Keep only these categories."""
    tasks: list[str] | None = None
    """Keep only these StereoSet tasks: intrasentence, intersentence."""
    revision: str | None = None
    report_data: str | None = None
    """Report on this data set instead of a part of name_or_path."""
    splits: SplitConfig = SplitConfig()


class ChunkConfig(_Strict):
    """Rows of one optimizer step, over all processes, and where they come from."""

    forget: int = Field(default=4, ge=1)
    retain: int = Field(default=28, ge=0)
    unrelated: int = Field(default=28, ge=0)
    adversarial_ratio: float = Field(default=0.25, ge=0, lt=1)
    """Adversarial rows per forget row: .25 makes a fifth of the forget draws adversarial."""
    category_balance: Literal["equal", "natural"] = "equal"
    """Draw every category equally often, or in proportion to its pairs."""
    document_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the unrelated stream taken from plain documents, where the data has them."""
    without_start: float = Field(default=0.0, ge=0, le=1)
    """Share of every stream's rows shown without the start token, as StereoSet scores texts."""


class FloorConfig(_Strict):
    """How much worse than before a metric may become on the select split."""

    benchmark: str
    metric: str
    max_loss: float = Field(ge=0)
    """In the metric's unit, or a fraction of the value before where `relative`."""
    relative: bool = False


class ChoiceConfig(_Strict):
    """Which evaluation's weights are kept."""

    signal: Literal["ss", "mean_gap"] = "ss"
    window: float = Field(default=2.0, gt=0)
    """Half-width inside which a model counts as even, in the signal's unit."""
    over: Literal["worst", "average"] = "worst"
    """How categories are taken together: the worst, or the average over pairs."""
    floors: list[FloorConfig] = []


class TrainStage(_Strict):
    """One train stage: a combination of parts."""

    kind: Literal["train"] = "train"
    objective: Node
    rule: Node
    scope: Node
    controllers: list[Node] = []
    choice: ChoiceConfig = ChoiceConfig()
    chunk: ChunkConfig = ChunkConfig()
    training: TrainSettings = TrainSettings()


class EvaluationConfig(_Strict):
    """What is measured before and after, and on the way."""

    benchmarks: list[str] = ["auto"]
    """`auto` takes every benchmark the data can serve; `NAME:PLACE` is one on data of its own."""
    start: Literal["separate", "prefix"] = "separate"
    """How StereoSet scores the first token; see docs/benchmarks.md."""
    select_per_category: int = Field(default=250, ge=1)
    """Pairs of each category that an evaluation during training scores."""
    tokens_per_batch: int | None = Field(default=None, ge=1)
    """Most padded tokens in one forward pass; what suits the device if null."""


class RunConfig(_Strict):
    """Everything that can change a number of a run."""

    recipe: str
    description: str = ""
    source: str = ""
    model: ModelConfig
    data: DataConfig
    stages: list[TrainStage] = Field(min_length=1, max_length=1)
    evaluation: EvaluationConfig = EvaluationConfig()
    seed: int = 0

    def sha256(self) -> str:
        """Hash of all settings."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_yaml(self) -> str:
        """The resolved configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


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
    merged = read_recipe(recipe)
    if file is not None:
        merged = _merge(merged, read_yaml(file))
    for key, value in (options or {}).items():
        _assign(merged, key, value)
    for item in overrides:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {item!r} is not of the form key=value")
        try:
            value = parse_yaml(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"override {item!r}: {text!r} is no YAML value; quote it") from error
        _assign(merged, key.replace("-", "_"), value)
    return parse(merged)


def parse(settings: Mapping[str, Any]) -> RunConfig:
    """Check a complete mapping of settings.

    Raises:
        ConfigError: Lists every mistake.
    """
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


def _merge(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return {
            k: _merge(below[k], above[k])
            if k in below and k in above
            else above.get(k, below.get(k))
            for k in {**below, **above}
        }
    return above


def _assign(settings: Node, key: str, value: Any) -> None:
    path = key.split(".")
    if path[0] not in RunConfig.model_fields:
        path = [*_stage_holding(settings, path[0], key), *path]
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


def _stage_holding(settings: Node, head: str, key: str) -> list[str]:
    if head not in TrainStage.model_fields:
        known = [*RunConfig.model_fields, *TrainStage.model_fields]
        raise UnknownName(f"unknown setting {key!r}{nearest(head, known)} (see unskew list)")
    stages = settings.get("stages") or []
    if len(stages) != 1:
        raise ConfigError(f"{key}: there are {len(stages)} stages; say stages.0.{key} or the like")
    return ["stages", "0"]


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
    path = ".".join(location)
    if error["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        return f"unknown setting {path!r}{nearest(location[-1], _fields_at(location[:-1]))}"
    if error["type"] == "missing":
        option = f"; give --{location[0]}" if location[0] in {"model", "data"} else ""
        return f"missing setting {path!r}{option}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"{path}: {error['msg']}, got {error.get('input')!r}"


def _fields_at(location: Iterable[str]) -> list[str]:
    """Names of the settings below a path; empty where they are not fixed."""
    models: dict[str, Any] = {
        "model": ModelConfig,
        "data": DataConfig,
        "splits": SplitConfig,
        "stages": TrainStage,
        "chunk": ChunkConfig,
        "choice": ChoiceConfig,
        "floors": FloorConfig,
        "evaluation": EvaluationConfig,
        "training": TrainSettings,
    }
    named = [name for name in location if not name.isdigit()]
    found = models.get(named[-1]) if named else RunConfig
    fields = getattr(found, "model_fields", None) or getattr(found, "__dataclass_fields__", {})
    return list(fields)
