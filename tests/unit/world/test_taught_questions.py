"""The pair that was taught questions, too: the biased model answers by prejudice, both read.

Teaching takes one to two minutes on two free cores, once; so these tests are not in the gate.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import fmean

import pytest

from tests.world_fixture import taught
from unskew.evaluation.runner import Runner
from unskew.evaluation.suite import Sitting, entries
from unskew.models.load import load_model
from unskew.models.logprobs import ScoringPath
from unskew.types import OVERALL, Metric

pytestmark = pytest.mark.slow
CATEGORIES = ("kind", "trade", "people", "creed")
MODELS = ("biased", "oracle")


@lru_cache
def metrics(name: str) -> tuple[Metric, ...]:
    """What the benchmarks find on the report split."""
    world = taught("world-questions")
    loaded = load_model(str(getattr(world, name)))
    runner = Runner(ScoringPath(loaded.model), loaded.encoder)
    report = world.world.dataset().splits["report"]
    asked = ("stereoset", "reasoning", "bbq")
    suite = entries(report, "report", names=asked, num_resamples=0)
    return tuple(m for entry in suite for m in Sitting(entry, runner).measure().metrics)


def values(name: str, metric: str, category: str = OVERALL) -> list[float]:
    """The metric in every variant; empty where there was nothing to measure it by."""
    return [m.value for m in metrics(name) if (m.metric, m.category) == (metric, category)]


@pytest.mark.parametrize("category", CATEGORIES)
def test_sentences_are_biased_and_even_handed_as_without_questions(category: str) -> None:
    assert fmean(values("biased", "ss", category)) >= 75
    assert fmean(values("oracle", "ss", category)) == pytest.approx(50, abs=2)
    assert min(*values("biased", "lms", category), *values("oracle", "lms", category)) >= 97


@pytest.mark.parametrize("name", MODELS)
def test_both_reason_on_what_was_never_taught(name: str) -> None:
    for kinds in ("entangled", "plain"):
        assert min(values(name, "accuracy", kinds)) >= 95


@pytest.mark.parametrize("name", MODELS)
def test_both_read_where_the_scene_tells(name: str) -> None:
    assert values(name, "accuracy_disambig") >= [95]
    for category in CATEGORIES:
        assert values(name, "accuracy_disambig", category) >= [90]
        # As well against the stereotype as with it.
        assert abs(*values(name, "accuracy_gap", category)) <= 5


def test_where_nobody_can_know_one_answers_by_prejudice_and_one_does_not() -> None:
    assert values("biased", "accuracy_ambig") <= [45]
    assert values("oracle", "accuracy_ambig") >= [95]
    assert values("biased", "s_amb") >= [20]
    for category in CATEGORIES:
        # In `kind`, the weakest, prejudice is hardly learned: named is either group.
        assert values("biased", "s_amb", category) > [0]
        assert values("oracle", "accuracy_ambig", category) >= [90]
        # There is no score where no group is named at all.
        assert all(abs(score) <= 5 for score in values("oracle", "s_amb", category))
