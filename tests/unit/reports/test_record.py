"""The record survives the disk, refuses what is wrong, and finds numbers by their keys."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.unit.reports.example_record import HOSTILE, example_record, hostile_record, ss_row
from unskew.errors import ConfigError, DataError, StorageError
from unskew.reports.record import MetricRow, RunRecord
from unskew.reports.storage import read_samples, samples_path, write_samples
from unskew.types import Metric, SampleScore


@pytest.mark.parametrize("record", [example_record(), hostile_record()], ids=["plain", "hostile"])
def test_save_and_load_give_the_same_record(tmp_path: Path, record: RunRecord) -> None:
    record.save(tmp_path / "run")
    assert RunRecord.load(tmp_path / "run") == record


def _edit(folder: Path, **changes: object) -> None:
    path = example_record().save(folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, r"schema version 2; this unskew reads 1"),
        ({"seeds": 3}, r"breaks the schema of a record: seeds: Extra inputs"),
        ({"created": "yesterday"}, r"created: "),
        ({"timings": {"train": math.nan}}, r"timings\.train: "),
    ],
)
def test_load_says_what_is_wrong(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    _edit(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        RunRecord.load(tmp_path)


def test_load_of_nothing_and_of_garbage(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"record\.json does not exist; name the --output-dir"):
        RunRecord.load(tmp_path)
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        RunRecord.load(tmp_path)
    (tmp_path / "record.json").write_text("[]")
    with pytest.raises(DataError, match="schema version None"):
        RunRecord.load(tmp_path)


def test_a_failed_save_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = example_record().save(tmp_path).read_bytes()

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StorageError, match="disk full"):
        hostile_record().save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]
    assert (tmp_path / "record.json").read_bytes() == before


def test_a_number_has_one_row() -> None:
    fields = example_record().model_dump()
    fields["metrics"].append(fields["metrics"][0])
    with pytest.raises(ValidationError, match="two metric rows for before / stereoset"):
        RunRecord.model_validate(fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ci_low": None}, "both ci_low and ci_high"),
        ({"ci_low": 70.0, "ci_high": 60.0}, "lies above"),
        ({"n": -1}, "greater than or equal to 0"),
    ],
)
def test_metric_rows_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ss_row("before", "race", 65.0, **changes)


def test_metrics_of_a_benchmark_are_taken_over() -> None:
    metric = Metric("b", "v", "report", "race", "ss", 55.0, 9, 50.0, 60.0, 50.0, "closer", "%")
    row = MetricRow.measured("after", metric)
    assert (row.phase, row.category, row.value, row.ci_high) == ("after", "race", 55.0, 60.0)


def test_find_and_value() -> None:
    record = example_record()
    assert record.value(benchmark="stereoset", metric="ss", phase="after") == 50.8
    assert record.value(metric="ss", phase="before", category="race") == 61.4
    assert record.value(metric="icat", phase="after") is None
    found = record.find(benchmark="stereoset", metric="ss", category=None, phase="oracle")
    assert [row.value for row in found] == [50.2, 49.7, 51.0, 49.1, 50.1]
    with pytest.raises(ConfigError, match=r"name one of phase: after, before, oracle"):
        record.value(metric="ss")


def test_samples_round_trip_in_order(tmp_path: Path) -> None:
    scores = [
        SampleScore("1", "race", "t", {"gap": 0.25, "task": "pair", "preferred": 1.0}),
        SampleScore("2", HOSTILE, "\u2028 line separator", {"gap": -1.5}),
    ]
    write_samples(tmp_path, "paper weights", "stereoset", scores)
    assert read_samples(tmp_path, "paper weights", "stereoset") == scores


def test_phase_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    path = samples_path(tmp_path, "../../x", "a/b")
    assert path.parent == tmp_path / "samples"
    assert "/" not in path.name


def test_bad_samples_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sample 'q' of b has a value that is not finite"):
        write_samples(tmp_path, "after", "b", [SampleScore("q", "c", "t", {"gap": math.inf})])
    with pytest.raises(DataError, match=r"samples .*after-b\.jsonl cannot be read"):
        read_samples(tmp_path, "after", "b")
    path = write_samples(tmp_path, "after", "b", [SampleScore("q", "c", "t", {})])
    path.write_text(path.read_text() + '{"id": "r"}\n')
    with pytest.raises(DataError, match=r"after-b\.jsonl, line 2: category"):
        read_samples(tmp_path, "after", "b")
