"""What a run took, out of its record."""

from __future__ import annotations

import pytest

from tests.unit.comparison.small_runs import pairs, unlearned, write_run
from unskew import compare
from unskew.comparison.table import costs
from unskew.reports.record import Checkpoint, RunRecord, StageRow

MASKED = [
    StageRow(name="shadow", kind="train", result="r", num_tokens=1000),
    StageRow(name="mask", kind="saliency", result="r"),
    StageRow(name="update", kind="train", result="r", num_tokens=234),
]


def found(folder, **changes):
    return costs(RunRecord.load(unlearned(folder, [1, 1], [1, 0], **changes)))


def test_all_stages_cost_and_measuring_does_not(tmp_path):
    timings = {
        "baseline evaluation": 90.0,
        "shadow": 1.0,
        "mask": 2.0,
        "update": 4.0,
        "total": 99.0,
    }
    taken = found(tmp_path / "run", stages=MASKED, timings=timings, peak_memory_bytes=3 * 2**20)
    assert taken == {
        "training_seconds": 7.0,
        "tokens": 1234.0,
        "peak_memory": 3.0,
    }


@pytest.mark.parametrize("stages", [[], MASKED[-1:]])
def test_the_only_stage_is_timed_as_training(tmp_path, stages):
    taken = found(tmp_path / "run", stages=stages, timings={"training": 5.0, "total": 9.0})
    assert taken["training_seconds"] == 5.0


def test_what_is_not_known_is_absent(tmp_path):
    assert found(tmp_path / "run") == {}
    kept = Checkpoint(best_step=20, last_step=60, reason="least bias")
    assert found(tmp_path / "other", checkpoint=kept) == {"steps": 60.0, "best_step": 20.0}


def test_the_change_against_the_base_is_there_whatever_the_others_are_held_against(tmp_path):
    def run(name, points):
        before, after = pairs([1] * 4), pairs([1, 0, 1, 0], points)
        phases = {"before": {"stereoset": before}, "after": {"stereoset": after}}
        return write_run(tmp_path / name, phases)

    runs = [run("a", [2, 2, 2, 2]), run("b", [2, 2, 2, 0])]
    for baseline, has_interval in (("a", False), ("base", True)):
        compared = compare(runs, baseline=baseline)
        columns = [c for section in compared.sections for c in section.columns]
        (change,) = [c for c in columns if c.name.endswith("lms.overall.delta")]
        assert change.cells["a"].value == 0
        assert change.cells["b"].value == pytest.approx(-25)
        assert (change.cells["b"].ci_low is not None) == has_interval
