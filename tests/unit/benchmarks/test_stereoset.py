"""Oracles: the toy set and identities of the definition, and models whose score is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.benchmarks.scripted import (
    always_biased,
    ask,
    constant_answers,
    find,
    names,
    pair,
    random_answers,
    scores_by,
    some_examples,
)
from unskew.benchmarks.stereoset import StereoSet, answers_from_predictions, icat
from unskew.errors import BenchmarkError
from unskew.types import Examples, LikelihoodRequest

TOY = {"X1": (3, 2, 1), "X2": (2, 3, 1), "X3": (2, 2, 1), "X4": (1, 2, 3), "Y1": (5, 4, 6)}


def _toy(**options) -> tuple[StereoSet, list]:
    pairs = tuple(pair(id, target=id[0]) for id in TOY)
    benchmark = StereoSet(Examples(pairs=pairs), split="report", **options)
    return benchmark, ask(benchmark, lambda request: scores_by(*TOY[request.id]))


def test_toy_set_by_hand():
    benchmark, scores = _toy()
    metrics = benchmark.metrics(scores)
    for category in ("overall", "gender"):
        values = {m.metric: m.value for m in metrics if m.category == category}
        assert values == pytest.approx(
            {
                "ss": 62.5,
                "lms": 37.5,
                "icat": 28.125,
                "ss_micro": 40,
                "lms_micro": 60,
                "icat_micro": 48,
                "mean_gap": (1 - 1 + 0 - 1 + 1) / 5,
                "mean_abs_gap": (1 + 1 + 0 + 1 + 1) / 5,
            }
        )
    assert {m.n for m in metrics} == {5}


def test_sample_values_by_hand():
    _, scores = _toy()
    assert scores[0].values == {
        "stereotype": 3,
        "anti_stereotype": 2,
        "unrelated": 1,
        "gap": 1,
        "preferred": 1,
        "lm_points": 2,
        "task": "intrasentence",
        "variant": "intrasentence",
    }
    assert [s.values["preferred"] for s in scores] == [1, 0, 0, 0, 1]
    assert [s.values["lm_points"] for s in scores] == [2, 2, 2, 0, 0]


@pytest.mark.parametrize(
    ("ss", "lms", "expected"),
    [
        (50, 100, 100),
        (0, 100, 0),
        (100, 100, 0),
        (50, 50, 50),
        # Ablation on GPT2-large and instruct models, BiasUnlearn tables 5 and 3.
        (53.73, 92.95, 86.01),
        (47.56, 57.72, 54.91),
        (43.14, 88.22, 76.11),
        (44.72, 86.84, 77.67),
        (65.23, 89.92, 62.52),
        (49.18, 89.03, 87.57),
        (50.75, 89.82, 88.47),
    ],
)
def test_icat_matches_published_rows(ss, lms, expected):
    # Both inputs are rounded to .005, which moves ICAT by up to .01 + .01.
    assert icat(np.array(ss), np.array(lms)) == pytest.approx(expected, abs=0.02)


def test_always_biased_model_scores_100():
    benchmark = StereoSet(some_examples(), split="report")
    metrics = benchmark.metrics(ask(benchmark, always_biased))
    assert find(metrics, "ss").value == 100
    assert find(metrics, "lms").value == 100
    assert find(metrics, "icat").value == 0
    assert find(metrics, "mean_gap").value == 1


def test_constant_model_ties_everywhere():
    benchmark = StereoSet(some_examples(), split="report")
    metrics = benchmark.metrics(ask(benchmark, constant_answers))
    assert {find(metrics, m).value for m in ("ss", "lms", "icat", "mean_gap")} == {0}


def test_a_share_without_spread_still_has_a_width():
    benchmark = StereoSet(some_examples(), split="report")
    metrics = benchmark.metrics(ask(benchmark, always_biased))
    ss = find(metrics, "ss")
    # Wilson for 24 of 24: lower bound n / (n + z^2).
    assert (ss.ci_low, ss.ci_high) == (pytest.approx(100 * 24 / (24 + 3.841459)), 100)
    assert find(metrics, "icat").ci_low is None


def test_random_model_is_even_handed_within_its_interval():
    benchmark = StereoSet(some_examples(per_target=60), split="report")
    metrics = benchmark.metrics(ask(benchmark, random_answers()))
    for name in ("ss", "lms", "ss_micro", "lms_micro"):
        metric = find(metrics, name)
        assert metric.ci_low < 50 < metric.ci_high
        # 360 clusters: 1.96 * 50 / sqrt(360) = 5.2.
        assert metric.ci_high - metric.ci_low < 12


def test_swapped_labels_mirror_ss_and_leave_lms():
    benchmark = StereoSet(some_examples(), split="report")
    answer = random_answers()
    answers = {r.id: answer(r) for r in benchmark.requests()}
    straight = benchmark.metrics(ask(benchmark, lambda r: answers[r.id]))
    swapped = benchmark.metrics(
        ask(benchmark, lambda r: (answers[r.id][1], answers[r.id][0], answers[r.id][2]))
    )
    for category in ("overall", "gender", "race"):
        for name in ("ss", "ss_micro"):
            mirrored = find(swapped, name, category).value
            assert mirrored == pytest.approx(100 - find(straight, name, category).value)
        assert find(swapped, "lms", category).value == find(straight, "lms", category).value
        gap = find(straight, "mean_gap", category).value
        assert find(swapped, "mean_gap", category).value == pytest.approx(-gap)


def test_requests_score_whole_sentences_and_continuations():
    within, after = pair("a"), pair("b", task="intersentence")
    bare = pair("c", task="pair", unrelated=False)
    benchmark = StereoSet(Examples(pairs=(within, after, bare)), split="report")
    first, second, third = benchmark.requests()
    assert isinstance(first, LikelihoodRequest)
    assert tuple(s.text for s in first.segments) == within.texts
    assert {s.completion_start for s in first.segments} == {0}
    assert {s.completion_start for s in second.segments} == {after.completion_start}
    assert (first.start, second.start) == ("separate", "prefix")
    assert len(third.segments) == 2


def test_tasks_and_starts_are_variants_apart():
    pairs = tuple(
        pair(f"{task}-{i}", task=task)
        for task in ("intersentence", "pair", "intrasentence")
        for i in range(3)
    )
    separate = StereoSet(Examples(pairs=pairs), split="report")
    metrics = separate.metrics(ask(separate, always_biased))
    # The headline variant comes first: `Evaluation.value` takes the first it finds.
    assert metrics[0].variant == "intrasentence"
    assert {m.variant for m in metrics} == {"intrasentence", "intersentence", "pair"}
    assert {m.n for m in metrics} == {3}
    prefix = StereoSet(Examples(pairs=pairs), split="report", start="prefix")
    metrics = prefix.metrics(ask(prefix, always_biased))
    variants = {m.variant for m in metrics}
    assert variants == {"intrasentence-prefix", "intersentence", "pair-prefix"}
    only = StereoSet(Examples(pairs=pairs), split="report", tasks=("pair",))
    assert {m.variant for m in only.metrics(ask(only, always_biased))} == {"pair"}


def test_pairs_without_unrelated_count_for_ss_only():
    pairs = (pair("a"), pair("b"), pair("c", unrelated=False))
    benchmark = StereoSet(Examples(pairs=pairs), split="report")
    metrics = benchmark.metrics(ask(benchmark, always_biased))
    assert {m.metric: m.n for m in metrics if m.category == "overall"} == {
        "ss": 3,
        "lms": 2,
        "icat": 2,
        "ss_micro": 3,
        "lms_micro": 2,
        "icat_micro": 2,
        "mean_gap": 3,
        "mean_abs_gap": 3,
    }
    bare = StereoSet(Examples(pairs=pairs[2:]), split="report")
    found = names(bare.metrics(ask(bare, always_biased)))
    assert found == {"ss", "ss_micro", "mean_gap", "mean_abs_gap"}


def test_one_cluster_per_target_resamples_targets():
    pairs = tuple(pair(f"t{i}", target=f"t{i}") for i in range(40))
    benchmark = StereoSet(Examples(pairs=pairs), split="report")
    scores = ask(benchmark, lambda r: scores_by(0.0, 1.0 if int(r.id[1:]) % 4 else -1.0, -9.0))
    ss = find(benchmark.metrics(scores), "ss")
    # A quarter of 40 targets: standard error 100 * sqrt(.25 * .75 / 40) = 6.85.
    assert ss.value == 25
    assert (ss.ci_low, ss.ci_high) == pytest.approx((25 - 13.4, 25 + 13.4), abs=2.6)


def test_single_cluster_has_no_bootstrap_interval():
    benchmark = StereoSet(Examples(pairs=(pair("a"),)), split="report")
    metrics = benchmark.metrics(ask(benchmark, always_biased))
    assert find(metrics, "ss").ci_low is None
    assert find(metrics, "ss_micro").ci_low == pytest.approx(100 / (1 + 3.841459))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "middle"}, "start 'middle'; allowed: separate, prefix"),
        ({"tasks": ("intersentense",)}, "'intersentense' in the report split.*intrasentence"),
        ({"tasks": ()}, "the report split has none"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(BenchmarkError, match=message):
        StereoSet(some_examples(), split="report", **options)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_scores_that_are_no_numbers_name_the_item(bad):
    benchmark = StereoSet(Examples(pairs=(pair("a"),)), split="report")
    with pytest.raises(BenchmarkError, match=r"item 'a': anti_stereotype is (nan|-inf)"):
        ask(benchmark, lambda _: scores_by(-1.0, bad, -1.0))


# --- stored scores ---------------------------------------------------------------------------


def _stored(**changes) -> dict:
    rows = {"X1-s": 3.0, "X1-a": 2.0, "X1-u": 1.0, "Y1-s": 4.0, "Y1-a": 5.0, "Y1-u": 6.0, **changes}
    return {"intrasentence": [{"id": k, "score": v} for k, v in rows.items() if v is not None]}


def _two(**options) -> StereoSet:
    pairs = (pair("X1", target="X"), pair("Y1", target="Y"))
    return StereoSet(Examples(pairs=pairs), split="report", **options)


def test_stored_scores_are_compared_and_give_no_gap():
    benchmark = _two(start="prefix")
    answers = answers_from_predictions(benchmark, _stored())
    metrics = benchmark.metrics(ask(benchmark, lambda r: answers[r.id]))
    assert find(metrics, "ss").value == 50
    assert find(metrics, "lms").value == 50
    assert not names(metrics) & {"mean_gap", "mean_abs_gap"}
    # How a file of scores was made is unknown, so it does not take the name of our own variant.
    assert {m.variant for m in metrics} == {"intrasentence"}


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (_stored(**{"X1-a": None, "Y1-u": None}), "lack 2 sentences .* first X1-a, Y1-u;"),
        ({}, "lack 6 sentences .* first X1-a, X1-s, X1-u, Y1-a, Y1-s;"),
        (_stored(**{"X1-a": float("nan")}), "item 'X1-a': score is nan"),
        (_stored(**{"X1-a": "7"}), "row 2: score of 'X1-a' is '7'; give a number"),
        (_stored(**{"X1-a": True}), "score of 'X1-a' is True"),
        ({"intrasentence": [{"id": "X1-s"}]}, 'row 1: .*each row is {"id"'),
        ({"intrasentence": _stored()["intrasentence"] * 2}, "row 7: id 'X1-s' occurs twice"),
        ({"intrasentense": []}, "'intrasentense'; did you mean 'intrasentence'"),
    ],
)
def test_faulty_predictions_are_refused(predictions, message):
    with pytest.raises(BenchmarkError, match=message):
        answers_from_predictions(_two(), predictions)


def test_predictions_of_unknown_sentences_warn():
    with pytest.warns(UserWarning, match="1 predictions belong to no sentence"):
        answers = answers_from_predictions(_two(), _stored(other=1.0))
    assert set(answers) == {"X1", "Y1"}


def test_predictions_need_sentence_ids():
    bare = replace(pair("a"), sentence_ids=())
    with pytest.raises(BenchmarkError, match="'a' has 3 texts and 0 sentence ids"):
        answers_from_predictions(StereoSet(Examples(pairs=(bare,)), split="report"), {})
