"""The scorer against the authors' published cells, from their own sentence scores."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tests.unit.benchmarks.scripted import find
from unskew.benchmarks.stereoset import StereoSet, answers_from_predictions
from unskew.types import Examples, Pair, SampleScore

MODELS = ("gpt2", "gpt2-medium")
CELLS = {"SS": "ss", "LM": "lms", "ICAT": "icat"}
BOTH = "intrasentence+intersentence"


@cache
def _pairs(folder: Path) -> tuple[Pair, ...]:
    """The development file, read here without the loader, which has its own tests."""
    tasks = json.loads((folder / "dev.json").read_text())["data"]
    pairs = []
    for task, clusters in tasks.items():
        for cluster in clusters:
            by_label = {s["gold_label"]: s for s in cluster["sentences"]}
            chosen = [by_label[k] for k in ("stereotype", "anti-stereotype", "unrelated")]
            pairs.append(
                Pair(
                    cluster["id"],
                    cluster["bias_type"],
                    cluster["target"],
                    *(s["sentence"] for s in chosen),
                    completion_start=0,
                    task=task,
                    sentence_ids=tuple(s["id"] for s in chosen),
                )
            )
    return tuple(pairs)


@cache
def _scores(folder: Path, model: str) -> tuple[SampleScore, ...]:
    path = folder / "predictions" / f"predictions_{model}_ModelNSP_GPT2LM.json"
    benchmark = StereoSet(Examples(pairs=_pairs(folder)), split="report")
    answers = answers_from_predictions(benchmark, json.loads(path.read_text()))
    return tuple(benchmark.score(r, answers[r.id]) for r in benchmark.requests())


@pytest.fixture(scope="session")
def folder(lab: Path) -> Path:
    return lab / "data" / "stereoset"


@pytest.fixture(scope="session", params=MODELS)
def model(request) -> str:
    return request.param


def _metrics(folder: Path, scores, **options):
    options = {"num_resamples": 0, **options}
    return StereoSet(Examples(pairs=_pairs(folder)), split="report", **options).metrics(scores)


def _both_tasks(scores):
    return [replace(s, values={**s.values, "variant": BOTH}) for s in scores]


def _first_100_of_each_type(folder: Path, scores):
    kept, left = set(), {}
    for pair in _pairs(folder):
        if pair.task == "intrasentence" and left.setdefault(pair.category, 100):
            left[pair.category] -= 1
            kept.add(pair.id)
    return [
        replace(s, values={**s.values, "variant": "intrasentence_first100_per_type"})
        for s in scores
        if s.id in kept
    ]


def test_published_cells(folder, model):
    published = json.loads((folder / "published_scores.json").read_text())[model]
    scores = _scores(folder, model)
    metrics = _metrics(folder, scores) + _metrics(folder, _both_tasks(scores))
    compared = 0
    for task, cells in published.items():
        for category, row in ({"overall": cells} if task == "overall" else cells).items():
            variant = BOTH if task == "overall" else task
            for theirs, ours in CELLS.items():
                found = find(metrics, ours, category, variant)
                assert found.value == pytest.approx(row[f"{theirs} Score"], abs=1e-9)
                compared += 1
    assert compared == 33


def test_recomputed_cells_with_subset_and_micro_values(folder, model):
    expected = json.loads((folder / "expected_scores.json").read_text())[model]
    scores = _scores(folder, model)
    metrics = [
        *_metrics(folder, scores),
        *_metrics(folder, _both_tasks(scores)),
        *_metrics(folder, _first_100_of_each_type(folder, scores)),
    ]
    compared = 0
    for variant, categories in expected.items():
        for category, row in categories.items():
            for theirs, ours in CELLS.items():
                macro = find(metrics, ours, category, variant)
                micro = find(metrics, f"{ours}_micro", category, variant)
                # The file is rounded to six decimals.
                assert macro.value == pytest.approx(row[theirs], abs=6e-7)
                assert micro.value == pytest.approx(row[f"micro{theirs}"], abs=6e-7)
                assert macro.n == row["n"]
                compared += 2
    assert compared == 4 * 5 * 6


def test_overall_is_the_mean_over_terms(folder, model):
    metrics = _metrics(folder, _scores(folder, model))
    terms = {"gender": 10, "profession": 30, "race": 36, "religion": 3}
    for name in ("ss", "lms"):
        weighted = sum(
            n * find(metrics, name, category, "intrasentence").value
            for category, n in terms.items()
        )
        overall = find(metrics, name, variant="intrasentence").value
        assert weighted / 79 == pytest.approx(overall, abs=1e-9)


def test_intervals_within_terms_match_the_published_ones(folder):
    # 10000 resamples bring the noise of the quantiles below the tolerance of .4, which allows
    # for the noise of the published ones (1000 resamples).
    scores = [s for s in _scores(folder, "gpt2-medium") if s.values["task"] == "intrasentence"]
    metrics = _metrics(folder, scores, num_resamples=10000)
    published = {
        ("ss", "overall"): (60.8, 64.7),
        ("ss", "gender"): (59.4, 71.5),
        ("ss", "profession"): (60.2, 66.5),
        ("ss", "race"): (58.4, 64.4),
        ("ss", "religion"): (52.3, 72.5),
        ("lms", "overall"): (91.2, 93.2),
        ("icat", "overall"): (65.0, 72.6),
    }
    for (name, category), ends in published.items():
        found = find(metrics, name, category, "intrasentence")
        assert (found.ci_low, found.ci_high) == pytest.approx(ends, abs=0.4)


def test_paired_difference_of_the_two_models(folder):
    runs = {model: _scores(folder, model) for model in MODELS}
    found = StereoSet.differences(runs, [tuple(MODELS)])
    (ss,) = found["intrasentence", "overall", "ss"].values()
    assert ss.value == pytest.approx(0.81, abs=0.005)
    assert (ss.ci_low, ss.ci_high) == pytest.approx((-0.8, 2.4), abs=0.2)
    assert 0.1 < ss.p_value < 0.6
