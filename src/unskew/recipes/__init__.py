"""A paper's method is one YAML file here, found by its name; a user's own is found by its path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from unskew.errors import ConfigError, UnknownName
from unskew.registry import nearest

Node = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Booleans and floats of YAML 1.2: `off` is a word, and `2e-5` a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":bool", ":float"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """The value that a YAML text writes down.

    Raises:
        yaml.YAMLError: It is no YAML.
    """
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def parse_grid(items: Sequence[str]) -> dict[str, list[Any]]:
    """Settings and their values from texts of the form `key=[value, value]`.

    Raises:
        ConfigError: A text is not of that form, or a setting is named twice.
    """
    grid: dict[str, list[Any]] = {}
    for item in items:
        key, _, text = item.partition("=")
        try:
            values = parse_yaml(text)
        except yaml.YAMLError:
            values = None
        if not key or not isinstance(values, list) or not values:
            raise ConfigError(f"grid {item!r} is not of the form key=[value, value]")
        if key in grid:
            raise ConfigError(f"grid: {key} is named twice; give all its values at once")
        grid[key] = values
    return grid


def recipe_names() -> tuple[str, ...]:
    """Recipes that come with unskew."""
    folder = resources.files("unskew.recipes")
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")))


def read_recipe(name: str) -> Node:
    """A recipe that comes with unskew, or a YAML file of one's own.

    A recipe that `extends` another is merged over it; see `merged`.

    Raises:
        UnknownName: No such recipe; the message lists all and names the nearest.
        ConfigError: A file cannot be read, or recipes extend each other in a circle.
    """
    chain = [name]
    content = _content(name)
    while (below := content.pop("extends", None)) is not None:
        if below in chain:
            raise ConfigError(f"recipes extend each other in a circle: {', '.join(chain)}")
        chain.append(below)
        content = merged(_content(below), content)
    is_file = name.endswith((".yaml", ".yml"))
    return {"recipe": Path(name).stem, **content} if is_file else {**content, "recipe": name}


def _content(name: str) -> Node:
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name))
    if name not in recipe_names():
        raise UnknownName(
            f"unknown recipe {name!r}{nearest(name, recipe_names())} "
            f"(there are: {', '.join(recipe_names())}; or give a .yaml file)"
        )
    text = resources.files("unskew.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return parse_yaml(text)


def merged(below: Any, above: Any) -> Any:
    """Settings laid over others: mappings key by key, all else replaced.

    A mapping that names another part than the one below replaces it, since its arguments are that
    part's own. `stages` says the new list whole: a word takes the stage of that name as it is, and
    a stage whose name is there already is laid over it.

    Raises:
        UnknownName: There is no stage of that name.
    """
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if above.get("name", below.get("name")) != below.get("name"):
        return above
    result = {**below, **above}
    for key in below.keys() & above.keys():
        both = (below[key], above[key])
        lists = key == "stages" and all(isinstance(value, list) for value in both)
        result[key] = _merged_stages(*both) if lists else merged(*both)
    return result


def _merged_stages(below: list[Any], above: list[Any]) -> list[Any]:
    known = {_stage_name(stage): stage for stage in below}
    made: list[Any] = []
    for stage in above:
        if isinstance(stage, str) and stage not in known:
            raise UnknownName(
                f"stages: no stage {stage!r}{nearest(stage, known)} (there are: {', '.join(known)})"
            )
        is_word = isinstance(stage, str)
        made.append(known[stage] if is_word else merged(known.get(_stage_name(stage), {}), stage))
    return made


def _stage_name(stage: Any) -> str:
    """A stage that is given no name is called after its kind, and it trains if it has none."""
    node = stage if isinstance(stage, dict) else {}
    return str(node.get("name") or node.get("kind") or "train")


def read_yaml(path: Path) -> Node:
    """A YAML mapping.

    Raises:
        ConfigError: The file is missing, no YAML, or no mapping.
    """
    try:
        value = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration file {path}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} is not a mapping of settings")
    return value
