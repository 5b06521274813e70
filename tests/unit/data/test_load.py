import hashlib

import datasets
import pytest

from unskew.data.load import load_dataset
from unskew.data.splits import SplitSettings
from unskew.errors import ConfigError, DataError, LeakageError

from .rows import cluster, many_clusters, row, write_jsonl, write_stereoset


def ids(data, split):
    return [pair.id for pair in data.splits[split].pairs]


def test_three_splits_with_their_origin(tmp_path):
    path = write_stereoset(tmp_path / "five.json", many_clusters())
    data = load_dataset(path)
    assert {split: len(ids(data, split)) for split in data.splits} == {
        "train": 12,
        "select": 4,
        "report": 4,
    }
    assert (data.name, data.source, data.drops) == ("five", path, ())
    assert data.sha256 == hashlib.sha256((tmp_path / "five.json").read_bytes()).hexdigest()


def test_without_splits_all_is_reported_in_the_order_of_the_file(tmp_path):
    rows = [cluster("b"), cluster("a", "A BLANK is BLANK."), cluster("c")]
    data = load_dataset(write_stereoset(tmp_path / "a.json", rows), splits=None)
    assert set(data.splits) == {"report"}
    assert ids(data, "report") == ["b", "a", "c"]
    assert data.drops == ()


def test_unfit_clusters_are_dropped_from_training_with_the_reason(tmp_path):
    rows = many_clusters() + [
        cluster(f"two{t}", "A BLANK is BLANK.", target=f"gender{t}", fills=(f"a{t}", f"b{t}"))
        for t in range(5)
    ]
    data = load_dataset(write_stereoset(tmp_path / "a.json", rows))
    reasons = {drop.id: drop.reason for drop in data.drops}
    assert set(reasons) == {f"two{t}" for t in range(5)}
    for t in range(5):
        kept = f"two{t}" in ids(data, "report")
        end = "kept for evaluation" if kept else "left out"
        assert reasons[f"two{t}"] == f"the context holds BLANK more than once; {end}"
        assert kept == (f"gender-{t}-0" in ids(data, "report"))
    assert not {*ids(data, "train"), *ids(data, "select")} & set(reasons)


def test_categories_and_tasks_are_kept_as_asked(tmp_path):
    inter = [cluster("i", "Yes.", category="race", fills=("One.", "Two.", "Three."))]
    path = write_stereoset(tmp_path / "a.json", many_clusters(), inter)
    data = load_dataset(path, splits=None, categories=["race"], tasks=["intersentence"])
    assert ids(data, "report") == ["i"]
    with pytest.raises(DataError, match=r"unknown category 'gendre'; did you mean 'gender'"):
        load_dataset(path, categories=["gendre"])
    with pytest.raises(DataError, match=r"unknown task 'intersentenc'; did you mean"):
        load_dataset(path, tasks=["intersentenc"])
    with pytest.raises(DataError, match="categories gender and tasks intersentence at once"):
        load_dataset(path, categories=["gender"], tasks=["intersentence"])
    with pytest.raises(ConfigError, match="give a list"):
        load_dataset(path, categories="gender")
    with pytest.raises(ConfigError, match="is empty"):
        load_dataset(path, categories=[])


def test_report_data_is_the_whole_report_split(tmp_path):
    main = write_stereoset(tmp_path / "a.json", many_clusters(4))
    other = write_jsonl(tmp_path / "b.jsonl", [row(n, id=str(n)) for n in range(3)])
    data = load_dataset(main, report_data=other)
    assert ids(data, "report") == ["0", "1", "2"]
    assert len(ids(data, "train")) == 12 and len(ids(data, "select")) == 4
    assert data.source == f"{main}; report: {other}"
    assert data.sha256 != load_dataset(main).sha256


def test_two_targets_are_enough_with_report_data(tmp_path):
    main = write_stereoset(tmp_path / "a.json", many_clusters(2))
    other = write_jsonl(tmp_path / "b.jsonl", [row()])
    with pytest.raises(DataError, match="too few targets to make 3"):
        load_dataset(main)
    assert ids(load_dataset(main, report_data=other), "select")


def test_overlapping_report_data_is_leakage(tmp_path):
    main = write_jsonl(tmp_path / "a.jsonl", [row(n, id=f"a{n}") for n in range(5)])
    other = write_jsonl(tmp_path / "b.jsonl", [row(3, id="b")])
    with pytest.raises(LeakageError, match=r"b \(report\) has a text of a3"):
        load_dataset(main, report_data=other)
    with pytest.raises(LeakageError, match="5 pairs"):
        load_dataset(main, report_data=main)
    with pytest.raises(ConfigError, match="needs splits"):
        load_dataset(main, report_data=other, splits=None)


def test_columns_hold_for_report_data_that_is_a_table(tmp_path):
    columns = {"stereotype": "s"}
    rows = [{"s": f"{n} x", "anti_stereotype": f"{n} y"} for n in range(6)]
    main = write_jsonl(tmp_path / "a.jsonl", rows[:5])
    table = write_jsonl(tmp_path / "b.jsonl", rows[5:])
    fixed = write_stereoset(tmp_path / "c.json", [cluster("c")])
    for other in (table, fixed):
        assert len(ids(load_dataset(main, columns=columns, report_data=other), "report")) == 1


def test_a_split_column_decides(tmp_path):
    marks = ("train", "train", "validation", "test")
    rows = [row(n, id=f"{n}", split=mark) for n, mark in enumerate(marks)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    data = load_dataset(path)
    assert [ids(data, s) for s in ("train", "select", "report")] == [["0", "1"], ["2"], ["3"]]
    other = write_jsonl(tmp_path / "b.jsonl", [row(9)])
    data = load_dataset(path, report_data=other)
    assert [(d.id, d.reason[:27]) for d in data.drops] == [("3", "marked for the report split")]
    with pytest.raises(DataError, match="leaves select empty"):
        load_dataset(write_jsonl(tmp_path / "c.jsonl", [rows[0], rows[3]]))
    leaking = [*rows, row(0, id="9", split="report")]
    with pytest.raises(LeakageError, match=r"9 \(report\) has a text of 0 \(train\)"):
        load_dataset(write_jsonl(tmp_path / "d.jsonl", leaking))


def test_an_unfit_row_marked_for_training_is_left_out(tmp_path):
    marks = ("train", "select", "report")
    rows = [row(n, id=f"{n}", split=mark) for n, mark in enumerate(marks)]
    rows += [
        {"id": f"two {mark}", "context": "BLANK by BLANK", "split": mark}
        | {"stereotype": f"{mark} by cat", "anti_stereotype": f"{mark} by dog"}
        for mark in marks
    ]
    data = load_dataset(write_jsonl(tmp_path / "a.jsonl", rows))
    assert [ids(data, s) for s in marks] == [["0"], ["1"], ["2", "two report"]]
    assert [drop.id for drop in data.drops] == ["two train", "two select", "two report"]


def test_the_splits_of_a_saved_dataset_decide(tmp_path):
    parts = {"train": [row(0)], "validation": [row(1)], "test": [row(2)]}
    tables = {name: datasets.Dataset.from_list(rows) for name, rows in parts.items()}
    datasets.DatasetDict(tables).save_to_disk(tmp_path / "saved")
    data = load_dataset(str(tmp_path / "saved"))
    assert data.splits["select"].pairs[0].stereotype == "Plant 1 is kind."


def test_the_seed_reaches_the_splits(tmp_path):
    path = write_stereoset(tmp_path / "a.json", many_clusters(12))
    splits = {tuple(ids(load_dataset(path, splits=SplitSettings(seed=s)), "train")) for s in (1, 2)}
    assert len(splits) == 2
