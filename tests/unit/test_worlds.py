from __future__ import annotations

from pathlib import Path

import pytest

from unskew import worlds
from unskew.assemble import data_for
from unskew.datasource import DataSource
from unskew.errors import ConfigError
from unskew.schema import DataConfig
from unskew.world.language import World
from unskew.world.teach import TaughtWorld
from unskew.world_names import WORLDS, worlds_among


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the worlds that are taught in the test, which costs nothing here."""
    asked: list[str] = []

    def teach(*, name: str, progress: bool) -> TaughtWorld:
        asked.append(name)
        return TaughtWorld(World(name=name), Path("biased"), Path("oracle"), 0.0)

    monkeypatch.setattr(worlds, "taught_world", teach)
    return asked


def test_worlds_are_told_from_hub_ids_and_folders() -> None:
    names = ["gpt2", "world-questions", None, "world", "world", "worlds", "world-questions"]
    assert worlds_among(*names) == ["world-questions", "world"]


@pytest.mark.parametrize(
    ("model", "data", "expected"),
    [
        ("world", "world", "world"),
        ("world", None, "world"),
        ("gpt2", "world-questions", "world-questions"),
        ("world-questions", "pairs.jsonl", "world-questions"),
        ("world-questions", "world", "world-questions"),
        (None, None, None),
        ("gpt2", "pairs.jsonl", None),
    ],
)
def test_the_models_world_is_taught(
    taught: list[str], model: str | None, data: str | None, expected: str | None
) -> None:
    found = worlds.world_for(model, data)
    assert (found.world.name if found else None) == expected
    assert taught == ([expected] if expected else [])


def test_data_with_words_that_the_model_lacks_is_refused(taught: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"not taught \(A:, Q:, unclear, who\); name world-q"):
        worlds.world_for("world", "world-questions")
    assert not taught


@pytest.mark.parametrize("name", WORLDS)
def test_a_name_gives_its_data_to_runs_and_to_scorings(name: str) -> None:
    digest = World(name=name).dataset().sha256
    assert data_for(DataConfig(name_or_path=name)).sha256 == digest
    assert DataSource(name).load().sha256 == digest
    with pytest.raises(ConfigError, match=rf"data {name} comes .* leave out data\.columns"):
        DataSource(name, columns={"a": "b"}).load()
