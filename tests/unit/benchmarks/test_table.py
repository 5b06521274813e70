"""What every benchmark of the table must do. A new one is covered without editing this file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.benchmarks.scripted import ask, random_answers, some_examples
from unskew.benchmarks import BENCHMARKS
from unskew.errors import BenchmarkError
from unskew.protocols import Benchmark
from unskew.types import Examples

EXAMPLES = some_examples()
WITHOUT_INTERVAL = ("ties", "p_value", "_failing_groups", "_groups_above")
"""Ends of names: a count, what is exact where every permutation is gone through, and numbers of
groups, which may be the same in every resample."""


def examples(cls) -> Examples:
    """With labelled texts and dialogues of a task that the benchmark is for."""
    asked = getattr(cls, "task", "")
    labelled = tuple(replace(item, task=asked) for item in EXAMPLES.labelled)
    task = getattr(cls, "tasks", ("",))[0]
    dialogues = tuple(replace(item, task=task) for item in EXAMPLES.dialogues)
    return replace(EXAMPLES, labelled=labelled, dialogues=dialogues)


@pytest.fixture(params=sorted(BENCHMARKS.built_in))
def cls(request):
    return BENCHMARKS.load(request.param)


def test_name_is_the_one_in_the_table(cls):
    assert BENCHMARKS[cls.name].endswith(f":{cls.__name__}")
    assert isinstance(cls(examples(cls), split="report"), Benchmark)


def test_no_scores_no_metrics(cls):
    assert cls(examples(cls), split="report").metrics([]) == []


def test_nothing_to_score_is_refused(cls):
    with pytest.raises(BenchmarkError, match=f"needs {cls.needs}, and the select split has none"):
        cls(Examples(), split="select")


def test_unknown_category_is_refused_with_the_nearest(cls):
    items = getattr(examples(cls), cls.needs)
    known = getattr(items[0], "category", None) or items[0].kind
    with pytest.raises(BenchmarkError, match=f"did you mean '{known}'.*there are:"):
        cls(examples(cls), split="report", categories=(f"{known}x",))


def test_chosen_category_is_alone(cls):
    items = getattr(examples(cls), cls.needs)
    known = getattr(items[0], "category", None) or items[0].kind
    benchmark = cls(examples(cls), split="report", categories=(known,))
    scores = ask(benchmark, random_answers())
    assert {s.category for s in scores} == {known}


def test_duplicate_ids_are_refused(cls):
    items = getattr(examples(cls), cls.needs)
    with pytest.raises(BenchmarkError, match="occurs twice"):
        cls(replace(examples(cls), **{cls.needs: (*items, items[0])}), split="report")


def test_the_overall_name_is_reserved(cls):
    items = getattr(examples(cls), cls.needs)
    field = "category" if hasattr(items[0], "category") else "kind"
    renamed = (replace(items[0], **{field: "overall"}), *items[1:])
    with pytest.raises(BenchmarkError, match="'overall' is the name of all categories"):
        cls(replace(examples(cls), **{cls.needs: renamed}), split="report")


def test_negative_resamples_are_refused(cls):
    with pytest.raises(BenchmarkError, match="num_resamples -1"):
        cls(examples(cls), split="report", num_resamples=-1)


def test_metrics_are_complete_unique_and_independent_of_order(cls):
    benchmark = cls(examples(cls), split="select")
    scores = ask(benchmark, random_answers())
    metrics = benchmark.metrics(scores)
    assert metrics
    assert benchmark.metrics(scores[::-1]) == metrics
    keys = [(m.variant, m.category, m.metric) for m in metrics]
    assert len(set(keys)) == len(keys)
    assert metrics[0].category == "overall"
    for m in metrics:
        assert (m.benchmark, m.split) == (cls.name, "select")
        assert m.n > 0
        assert m.variant
        assert m.unit
        if m.ci_low is not None or not m.metric.endswith(WITHOUT_INTERVAL):
            assert m.ci_low <= m.value <= m.ci_high


def test_intervals_can_be_left_out_without_changing_values(cls):
    full = cls(examples(cls), split="report")
    scores = ask(full, random_answers())
    quick = cls(examples(cls), split="report", num_resamples=0).metrics(scores)
    for with_interval, without in zip(full.metrics(scores), quick, strict=True):
        assert replace(with_interval, ci_low=None, ci_high=None) == replace(
            without, ci_low=None, ci_high=None
        )


def test_stored_samples_give_the_same_metrics(cls):
    benchmark = cls(examples(cls), split="report")
    scores = ask(benchmark, random_answers())
    stored = [replace(s, values=json.loads(json.dumps(dict(s.values)))) for s in scores]
    assert benchmark.metrics(stored) == benchmark.metrics(scores)


def test_differences_are_second_minus_first(cls):
    benchmark = cls(examples(cls), split="report", num_resamples=0)
    runs = {name: ask(benchmark, random_answers(seed)) for name, seed in (("a", 1), ("b", 2))}
    found = cls.differences(runs, [("a", "b"), ("b", "a")], num_resamples=200)
    names = {quantity.name for quantity in cls.quantities}
    before, after = (
        [m for m in benchmark.metrics(run) if m.metric in names] for run in runs.values()
    )
    assert sum(metric in names for _, _, metric in found) == len(before)
    for one, other in zip(before, after, strict=True):
        there, back = found[one.variant, one.category, one.metric].values()
        assert there.value == pytest.approx(other.value - one.value, abs=1e-9)
        assert 0 < there.p_value <= 1
        assert (back.value, back.p_value) == (-there.value, there.p_value)
        if there.ci_low is not None:
            assert (-back.ci_high, -back.ci_low) == pytest.approx((there.ci_low, there.ci_high))
        assert (there.gain is None) == (one.better != "closer" or one.ideal is None)


def test_stored_scores_are_aggregated_without_their_examples(cls):
    benchmark = cls(examples(cls), split="report")
    scores = ask(benchmark, random_answers())
    assert cls.aggregate(scores, split="report") == benchmark.metrics(scores)


def test_differences_need_the_same_items(cls):
    benchmark = cls(examples(cls), split="report")
    scores = ask(benchmark, random_answers())
    with pytest.raises(BenchmarkError, match="different items or variants"):
        cls.differences({"a": scores, "b": scores[1:]}, [("a", "b")])
