"""Means over seeds against numbers worked by hand and scipy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from tests.unit.comparison.small_runs import pairs, unlearned, write_run
from unskew.comparison.means import Mean, Method, Result, Standing, mean_over_seeds, standings
from unskew.comparison.overview import _forest, write_overview
from unskew.reports.record import RunRecord, StageRow

HOSTILE = "<script>|one\n$x$"


def method(tmp_path, name, *afters, **changes):
    """A run for each list of preferences after; four pairs, all biased before."""
    results = []
    for seed, after in enumerate(afters):
        run = unlearned(tmp_path / f"{len(name)}-{seed}", [1] * 4, after, seed=seed, **changes)
        results.append(Result(seed, RunRecord.load(run)))
    return Method(name, tuple(results))


def cells(row):
    return {column.title: cell for column, cell in row.cells.items()}


def test_the_interval_is_that_of_the_t_test():
    values = [51.0, 47.5, 55.25]  # by hand: mean 51.25, s 3.881, t(2) 4.303, half-width 9.64
    found = mean_over_seeds(values, "%")
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.value == pytest.approx(np.mean(values))
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.low, expected.high))


def test_the_interval_stays_within_what_the_unit_allows():
    wild = mean_over_seeds([1.0, 99.0], "%")
    assert (wild.value, wild.ci_low, wild.ci_high) == (50.0, 0.0, 100.0)


def test_one_seed_has_no_interval_and_alike_seeds_a_point():
    assert mean_over_seeds([3.0], "%").ci_low is None
    same = mean_over_seeds([3.0, 3.0, 3.0], "%")
    assert (same.ci_low, same.ci_high) == (3.0, 3.0)


def test_means_and_the_farthest_category_by_hand(tmp_path):
    # gender has pairs 0 and 2, race 1 and 3.
    one = method(tmp_path, "one", [1, 0, 0, 0], [1, 1, 1, 0])
    columns, rows = standings([one])
    base, row = rows
    assert (base.name, base.is_method, cells(base)["SS intrasentence"].value) == (
        "base",
        False,
        100,
    )
    # Overall 25 and 75; gender 50 and 100, race 0 and 50: farthest 50 and 50.
    assert cells(row)["SS intrasentence"].by_seed == (25, 75)
    assert cells(row)["SS intrasentence"].value == 50
    assert cells(row)["Farthest category"].value == 50
    assert "Slot mass" not in {column.title for column in columns}


def test_a_number_that_one_seed_lacks_is_no_mean(tmp_path):
    stage = StageRow(name="train", kind="train", result="r", num_tokens=7)
    both = method(tmp_path, "both", [1, 0, 1, 0], [1, 0, 1, 0], stages=[stage])
    without = method(tmp_path, "a", [1, 0, 1, 0])
    assert cells(standings([both])[1][1])["Tokens trained on"].value == 7
    mixed = Method("mixed", (both.results[0], without.results[0]))
    assert "Tokens trained on" not in cells(standings([mixed])[1][1])


def test_an_oracle_is_shown_where_it_was_measured(tmp_path):
    phases = {
        "before": {"stereoset": pairs([1] * 4)},
        "after": {"stereoset": pairs([1, 0, 1, 0])},
        "oracle": {"stereoset": pairs([1, 1, 0, 0])},
    }
    record = RunRecord.load(write_run(tmp_path / "r", phases))
    rows = standings([Method("one", (Result(0, record),))])[1]
    assert [row.name for row in rows] == ["base", "one", "oracle"]


def test_pages_are_escaped_and_say_what_failed(tmp_path):
    one = method(tmp_path, HOSTILE, [1, 0, 1, 0], [1, 1, 1, 0])
    failed = Method("failed", (Result(0, None, "boom <b>"), Result(1, None, "boom <b>")))
    folder = tmp_path / "page"
    write_overview([one, failed], folder, title="t", description="d", source="s")
    html = (folder / "overview.html").read_text()
    assert "<script>" not in html and "boom &lt;b&gt;" in html
    assert "0 of 2" in html and "2 of 2" in html
    markdown = (folder / "overview.md").read_text()
    for table in markdown.split("\n\n"):
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.replace(r"\|", "").count("|") for line in lines}) <= 1
    rows = json.loads((folder / "overview.json").read_text())["rows"]
    assert [r["name"] for r in rows] == ["base", HOSTILE, "failed"]
    assert rows[2]["numbers"] == []
    assert [f["error"] for f in rows[2]["failed"]] == ["boom <b>"] * 2


def test_nothing_but_failures_is_still_a_page(tmp_path):
    failed = Method("failed", (Result(0, None, "boom"),))
    made = write_overview([failed], tmp_path / "p", title="t", description="d", source="s")
    assert made.failures == ["failed, seed 0: boom"]


def test_a_logarithmic_axis_is_labelled_in_numbers(tmp_path):
    many = [Mean(v, "nats", (v,), None, None) for v in (0.001, 0.02, 0.3)]
    rows = [(Standing(f"m{i}", {}, 1), mean) for i, mean in enumerate(many)]
    drawn = _forest(rows, "nats", 800)
    assert "0.01" in drawn and "mathdefault" not in drawn
