from __future__ import annotations

import gzip
import json

import pytest

from unskew.data.load import load_dataset
from unskew.data.measured import measured_format
from unskew.data.seat import load_seat
from unskew.errors import ConfigError, DataError, MissingDataset

TEST = {
    "targ1": {"category": "Tall", "examples": ["This is a tower.", "Here is a mast."]},
    "targ2": {"category": "Low", "examples": ["This is a mat."]},
    "attr1": {"category": "Good", "examples": ["This is good."]},
    "attr2": {"category": "Bad", "examples": ["This is bad."]},
}


def _write(path, value, **options):
    path.write_text(json.dumps(value, **options))
    return str(path)


def test_a_file_is_a_test_and_its_name_tells_the_bias_type(tmp_path):
    place = _write(tmp_path / "sent-weat6b.jsonl", TEST, indent=2)
    (item,) = load_seat(place).splits["report"].associations
    assert (item.id, item.category) == ("sent-weat6b", "gender")
    assert item.targets == (("This is a tower.", "Here is a mast."), ("This is a mat.",))
    assert item.attributes == (("This is good.",), ("This is bad.",))


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("weat3b", "race"), ("sent-weat7", "gender"), ("weat10", "age"), ("sent-weat1", "other"),
        ("sent-religion2b", "religion"), ("sent-angry_black_woman_stereotype_b", "race"),
        ("heilman_double_bind_likable_1+3-", "gender"), ("weat9", "health"), ("weat60", "other"),
        ("religions", "other"), ("my_gender", "other"),
    ],
)  # fmt: skip
def test_bias_types(tmp_path, name, category):
    place = _write(tmp_path / f"{name}.jsonl", TEST)
    assert load_seat(place).splits["report"].associations[0].category == category


def test_lines_with_names_and_lists(tmp_path):
    rows = [
        {"name": "height", "category": "looks", **{k: v["examples"] for k, v in TEST.items()}},
        TEST,
    ]
    place = tmp_path / "mine.jsonl.gz"
    place.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    first, second = load_seat(str(place)).splits["report"].associations
    assert (first.id, first.category) == ("height", "looks")
    assert (second.id, second.category) == ("mine-2", "other")
    assert first.targets == second.targets


def test_a_folder_is_all_its_files_and_is_recognised(tmp_path):
    for name in ("weat6", "sent-weat6"):
        _write(tmp_path / f"{name}.jsonl", TEST, indent=2)
    assert [a.id for a in load_seat(str(tmp_path)).splits["report"].associations] == [
        "sent-weat6",
        "weat6",
    ]
    assert measured_format(str(tmp_path)) == "seat"
    assert measured_format(str(tmp_path / "weat6.jsonl")) == "seat"
    with pytest.raises(ConfigError, match="holds seat, to measure on and not to learn from"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attr2": None}, r"a.jsonl:a: attr2: is None; give texts, as a list"),
        ({"targ1": []}, r"targ1: is \[\]"),
        ({"targ1": {"examples": []}}, r"targ1: is \{'examples': \[\]\}"),
        ({"targ2": ["fine", " "]}, "targ2: holds ' '; give texts that are not empty"),
        ({"targ2": ["fine", 3]}, "targ2: holds 3"),
    ],
)
def test_faults_name_file_row_and_field(tmp_path, change, message):
    place = _write(tmp_path / "a.jsonl", {**TEST, **change})
    with pytest.raises(DataError, match=message):
        load_seat(place)


def test_what_is_no_test_is_refused(tmp_path):
    lacking = {k: v for k, v in TEST.items() if k != "attr1"}
    with pytest.raises(DataError, match="attr1: is missing"):
        load_seat(_write(tmp_path / "a.jsonl", lacking))
    with pytest.raises(DataError, match="is list; give an object of targ1, targ2, attr1, attr2"):
        load_seat(_write(tmp_path / "b.json", [TEST]))
    (tmp_path / "c.jsonl").write_text('{"targ1": ')
    with pytest.raises(DataError, match="is not JSON"):
        load_seat(str(tmp_path / "c.jsonl"))
    with pytest.raises(DataError, match="'same' is also the id of row"):
        load_seat(_write_lines(tmp_path / "d.jsonl", [{"name": "same", **TEST}] * 2))
    with pytest.raises(MissingDataset, match="no data set 'some/seat'"):
        load_seat("some/seat")


def _write_lines(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_the_public_files(lab):
    items = load_seat(str(lab / "data" / "seat")).splits["report"].associations
    assert len(items) == 50
    counted = {a.id: tuple(map(len, (*a.targets, *a.attributes))) for a in items}
    assert counted["sent-weat6"] == (64, 64, 101, 112)
    assert counted["weat9"] == (6, 6, 7, 7)
    sentences = [a for a in items if a.id.startswith("sent-")]
    of_type = {t: sum(a.category == t for a in sentences) for t in ("gender", "race", "religion")}
    assert of_type == {"gender": 8, "race": 7, "religion": 4}
