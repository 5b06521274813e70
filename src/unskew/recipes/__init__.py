"""A paper's method is one YAML file here, found by its name; a user's own is found by its path."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from unskew.errors import ConfigError, UnknownName
from unskew.registry import nearest

Node = dict[str, Any]


def recipe_names() -> tuple[str, ...]:
    """Recipes that come with unskew."""
    folder = resources.files("unskew.recipes")
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")))


def read_recipe(name: str) -> Node:
    """A recipe that comes with unskew, or a YAML file of one's own.

    Raises:
        UnknownName: No such recipe; the message lists all and names the nearest.
    """
    if name.endswith((".yaml", ".yml")):
        return {"recipe": Path(name).stem, **read_yaml(Path(name))}
    if name not in recipe_names():
        raise UnknownName(
            f"unknown recipe {name!r}{nearest(name, recipe_names())} "
            f"(there are: {', '.join(recipe_names())}; or give a .yaml file)"
        )
    text = resources.files("unskew.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return {**yaml.safe_load(text), "recipe": name}


def read_yaml(path: Path) -> Node:
    """A YAML mapping.

    Raises:
        ConfigError: The file is missing, no YAML, or no mapping.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration file {path}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} is not a mapping of settings")
    return value
