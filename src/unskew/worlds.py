"""What the name of an invented world stands for: its taught models and its data."""

from __future__ import annotations

from collections.abc import Collection

from unskew.errors import ConfigError
from unskew.models.load import load_model
from unskew.models.reference import ModelReference, Reference
from unskew.types import Dataset
from unskew.world.language import World
from unskew.world.teach import TaughtWorld, taught_world
from unskew.world_names import worlds_among

ORACLE = "oracle"


def world_for(
    model: str | None, data: str | None = None, *, progress: bool = True
) -> TaughtWorld | None:
    """The taught world where one is asked for; teaches it on first use.

    Args:
        model: Name of the model, if any; where it is a world's, that world counts.
        data: Name of the data, if any.
        progress: Whether to show how teaching goes on.

    Raises:
        ConfigError: The data is a world's that has words of which the model's has none.
    """
    named = worlds_among(model, data)
    if not named:
        return None
    known, wanted = (set(World(name=name).words) for name in (named[0], named[-1]))
    if lacking := sorted(wanted - known):
        raise ConfigError(
            f"data {data} has words that model {model} was not taught ({', '.join(lacking)}); "
            f"name {data} as the model, too"
        )
    return taught_world(name=named[0], progress=progress)


def oracle_reference(world: TaughtWorld | None) -> dict[str, Reference]:
    """The model taught the balanced world, by its name, where there is a world."""
    if world is None:
        return {}
    return {ORACLE: ModelReference(load_model(str(world.oracle)).model)}


def world_dataset(name: str, given: Collection[str]) -> Dataset:
    """A world's data, which come whole and split.

    Args:
        name: Of the world.
        given: Names of settings of data that a user gave: what would change the data is refused
            rather than ignored.

    Raises:
        ConfigError: A setting is given.
    """
    if given:
        raise ConfigError(
            f"data {name} comes with its own splits and categories; leave out "
            f"{', '.join(f'data.{setting}' for setting in given)}"
        )
    return World(name=name).dataset()
