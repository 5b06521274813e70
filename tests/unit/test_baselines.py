"""What runs share of their base model is taken by runs that begin alike, and by no others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.fixtures import encoder, metric, tiny_model
from unskew import config
from unskew.baselines import Baselines
from unskew.errors import DataError
from unskew.models.load import LoadedModel
from unskew.reports.record import MetricRow

ROWS = [MetricRow.measured("before", metric("ss", 61.25))]
SAMPLES = "samples/before-stereoset.jsonl"
NAMED = {"model.name_or_path": "m", "data.name_or_path": "d"}


@pytest.fixture
def workshop(tmp_path):
    """A run as far as it decides what is measured first, by its folder's name and its changes."""

    def make(name: str, *settings: str, sha256: str = "s", model: Any = None) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        return SimpleNamespace(
            settings=config.load("dpo", options=NAMED, overrides=settings),
            loaded=LoadedModel(model or tiny_model(), None, encoder(), "m"),
            world=None,
            dataset=SimpleNamespace(sha256=sha256),
            measuring=SimpleNamespace(own_data=lambda: {}, classifiers={}, tasks=[]),
            output_dir=folder,
        )

    return make


@pytest.fixture
def shared(workshop, tmp_path):
    """What the first run left."""
    first = workshop("first")
    (first.output_dir / "samples").mkdir()
    (first.output_dir / SAMPLES).write_text("scores of the first")
    left = Baselines(tmp_path / "shared", first)
    assert left.take() is None
    left.leave(ROWS)
    return tmp_path / "shared"


def test_a_run_that_begins_alike_takes_metrics_and_samples(workshop, shared):
    second = workshop("second", "training.learning_rate=1e-2", "objective.beta=0.5")
    assert Baselines(shared, second).take() == ROWS
    assert (second.output_dir / SAMPLES).read_text() == "scores of the first"


def test_whoever_comes_second_leaves_what_is_there(workshop, shared):
    Baselines(shared, workshop("second")).leave([])
    assert Baselines(shared, workshop("third")).take() == ROWS


@pytest.mark.parametrize(
    "settings",
    [
        ["seed=1"],
        ["evaluation.start=prefix"],
        ["evaluation.benchmarks=[stereoset]"],
        ["model.dtype=bfloat16"],
        ["data.categories=[gender]"],
    ],
)
def test_a_run_that_begins_otherwise_takes_nothing(settings, workshop, shared):
    other = workshop("other", *settings)
    assert Baselines(shared, other).take() is None
    assert not list(other.output_dir.iterdir())


def test_other_weights_data_or_threads_are_another_beginning(workshop, shared):
    changed = tiny_model()
    with torch.no_grad():
        next(changed.parameters())[0, 0] += 1e-3
    assert Baselines(shared, workshop("weights", model=changed)).take() is None
    assert Baselines(shared, workshop("data", sha256="t")).take() is None
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert Baselines(shared, workshop("threads")).take() is None
    finally:
        torch.set_num_threads(threads)
    assert Baselines(shared, workshop("same")).take() == ROWS


def test_nothing_is_shared_where_no_folder_is_given_or_others_have_a_say(workshop, tmp_path):
    judged = workshop("judged", "evaluation.judge.model=j")
    rated, harness = workshop("rated"), workshop("harness")
    rated.measuring.classifiers, harness.measuring.tasks = {"toxicity": object()}, [object()]
    others = ((tmp_path / "judges", run) for run in (judged, rated, harness))
    for root, run in ((None, workshop("alone")), *others):
        found = Baselines(root, run)
        found.leave(ROWS)
        assert found.take() is None
    assert not (tmp_path / "judges").exists()


@pytest.mark.parametrize("text", ["[{", '[{"phase": "before"}]', "7"])
def test_a_damaged_entry_is_named(text, workshop, shared):
    (file,) = shared.glob("*/metrics.json")
    file.write_text(text)
    with pytest.raises(DataError, match=str(file.parent)):
        Baselines(shared, workshop("second")).take()
