import json
from collections import Counter
from functools import cache

import datasets
import pytest

from unskew.data.inspect import validate
from unskew.data.load import load_dataset
from unskew.errors import DataError

from .rows import cluster, hub_row, write_jsonl, write_stereoset


def load(path, **options):
    return load_dataset(path, splits=None, **options).splits["report"].pairs


@pytest.fixture(scope="module")
def real(lab):
    """Pairs of a real file by its name, read once."""
    return cache(lambda file: load(str(lab / "data" / "stereoset" / file)))


def test_an_intrasentence_cluster_becomes_a_pair(tmp_path):
    path = write_stereoset(tmp_path / "a.json", [cluster("1")])
    (pair,) = load(path)
    assert pair.texts == ("The nurse was kind.", "The nurse was strong.", "The nurse was cheese.")
    assert pair.context == "The nurse was"
    assert (pair.category, pair.target, pair.task) == ("gender", "nurse", "intrasentence")
    assert pair.sentence_ids == ("1-stereotype", "1-anti-stereotype", "1-unrelated")
    assert pair.tags == ()


@pytest.mark.parametrize(
    ("context", "lead"), [("He came", "He came."), ("He came?", "He came?"), ("He (x)", "He (x).")]
)
def test_an_intersentence_text_is_context_space_sentence(tmp_path, context, lead):
    sentences = ("He sat.", "He ran.", "Cats purr.")
    path = write_stereoset(tmp_path / "a.json", [], [cluster("1", context, fills=sentences)])
    (pair,) = load(path)
    assert pair.texts == (f"{lead} He ran.", f"{lead} He sat.", f"{lead} Cats purr.")
    assert pair.completion_start == len(lead)
    assert pair.task == "intersentence"


def test_all_layouts_give_the_same_pairs(tmp_path):
    intra = cluster("1")
    inter = cluster("2", "He came.", fills=("He sat.", "He ran.", "Cats purr."))
    original = load(write_stereoset(tmp_path / "a.json", [intra], [inter]))
    (tmp_path / "list.json").write_text(json.dumps([intra, inter]))
    write_jsonl(tmp_path / "rows.jsonl", [hub_row(intra), hub_row(inter)])
    saved = datasets.Dataset.from_list([hub_row(intra), hub_row(inter)])
    saved.save_to_disk(tmp_path / "saved")
    for name in ("list.json", "rows.jsonl", "saved"):
        assert load(str(tmp_path / name)) == original, name


def test_two_sentences_are_enough_and_a_null_target_is_the_id(tmp_path):
    path = write_stereoset(tmp_path / "a.json", [cluster("1", target=None, fills=("x", "y"))])
    (pair,) = load(path)
    assert (pair.unrelated, pair.target) == (None, "1")
    assert pair.sentence_ids == ("1-stereotype", "1-anti-stereotype")


def test_a_cluster_that_cannot_be_trained_on_is_tagged_and_kept(tmp_path):
    twice = cluster("2", "A BLANK is BLANK.")
    same = cluster("3", fills=("kind", "kind", "cheese"))
    path = write_stereoset(tmp_path / "a.json", [cluster("1"), twice, same])
    assert [pair.tags for pair in load(path)] == [(), ("evaluation_only",), ("evaluation_only",)]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"bias_type": "gendre"}, "bias_type: unknown value 'gendre'; use gender, profession"),
        ({"bias_type": None}, "bias_type: unknown value None"),
        ({"context": "No gap."}, "context: has no BLANK"),
        ({"context": " "}, "context: is empty"),
        ({"target": 1.5}, "target: is float 1.5"),
        ({"target": True}, "target: is bool True"),
        ({"target": "\ud800"}, "target: holds half of a surrogate pair"),
        ({"id": None}, "id: is missing; add it"),
        ({"sentences": None}, "sentences: is missing"),
        ({"sentences": "text"}, "sentences: is str"),
        ({"sentences": []}, "sentences: no sentence is labelled 'stereotype'"),
        ({"sentences": [3]}, "sentences[1]: is int"),
        ({"sentences": {"id": ["1"], "sentence": []}}, "sentences: its lists differ in length"),
    ],
)
def test_each_fault_names_cluster_field_and_mend(tmp_path, change, fault):
    path = write_stereoset(tmp_path / "a.json", [cluster("0"), cluster("1") | change])
    (line,) = validate(path)
    assert line.startswith(f"{path}:intrasentence[2]")
    assert fault in line
    with pytest.raises(DataError):
        load_dataset(path)


@pytest.mark.parametrize(
    ("position", "change", "fault"),
    [
        (0, {"gold_label": "related"}, "gold_label: unknown value 'related'; use anti-stereotype"),
        (0, {"gold_label": 3}, "gold_label: unknown value 3"),
        (0, {"gold_label": True}, "gold_label: unknown value True"),
        (0, {"gold_label": "stereotype"}, "a second sentence labelled 'stereotype'"),
        (2, {"gold_label": "stereotype"}, "a second sentence labelled 'stereotype'"),
        (1, {"sentence": ""}, "sentence: is empty"),
        (1, {"id": "1-unrelated"}, "'1-unrelated' is also the id of another text"),
    ],
)
def test_each_fault_of_a_sentence_is_found(tmp_path, position, change, fault):
    broken = cluster("1")
    broken["sentences"][position] |= change
    (line,) = validate(write_stereoset(tmp_path / "a.json", [broken]))
    assert "id=1" in line and fault in line


def test_one_sentence_id_may_name_one_text_twice(tmp_path):
    again = cluster("2")
    again["sentences"][0]["id"] = "1-anti-stereotype"
    assert validate(write_stereoset(tmp_path / "a.json", [cluster("1"), again])) == ()


def test_every_fault_of_the_file_is_listed_at_once(tmp_path):
    rows = [cluster("1"), cluster("1"), cluster("2", category="age"), cluster("3") | {"id": ""}]
    lines = validate(write_stereoset(tmp_path / "a.json", rows))
    assert len(lines) == 3
    assert "'1' is also the id of row intrasentence[1]" in lines[0]


@pytest.mark.parametrize(
    ("file", "tasks", "categories"),
    [
        ("dev.json", (2106, 2123), (497, 1637, 1938, 157)),
        ("test.json", (4327, 6374), (1522, 2768, 5923, 488)),
        ("test_pairs_only.json", (2065, 0), (0, 2065, 0, 0)),
    ],
)
def test_the_published_counts(real, file, tasks, categories):
    """Totals of the paper; profession of the two test files sums to the published 4833."""
    pairs = real(file)
    by_task = Counter(pair.task for pair in pairs)
    by_category = Counter(pair.category for pair in pairs)
    assert (by_task["intrasentence"], by_task["intersentence"]) == tasks
    names = ("gender", "profession", "race", "religion")
    assert tuple(by_category[name] for name in names) == categories
    for pair in pairs:
        assert len({text[: pair.completion_start] for text in pair.texts}) == 1
        assert all(text[pair.completion_start :].strip() for text in pair.texts)


def test_the_blank_filter_drops_what_the_paper_drops(real):
    """BiasUnlearn, Table 6: gender 1, profession 1 and race 2 of the test split."""
    pairs = [*real("test.json"), *real("test_pairs_only.json")]
    unfit = [pair for pair in pairs if pair.tags]
    assert Counter(p.category for p in unfit if p.task == "intrasentence") == {
        "gender": 1,
        "profession": 1,
        "race": 2,
    }
    (same,) = (pair for pair in unfit if pair.task == "intersentence")
    assert same.stereotype == same.anti_stereotype


def test_strict_finds_the_two_templates_with_another_ending(lab, real):
    path = str(lab / "data" / "stereoset" / "test.json")
    strict = {pair.id for pair in load(path, strict=True) if pair.tags}
    assert len(strict - {pair.id for pair in real("test.json") if pair.tags}) == 2


def test_dev_and_test_share_nothing(lab):
    folder = lab / "data" / "stereoset"
    data = load_dataset(str(folder / "test.json"), report_data=str(folder / "dev.json"))
    assert len(data.splits["report"].pairs) == 4229
    targets = {k: {p.target for p in v.pairs} for k, v in data.splits.items()}
    assert not targets["report"] & (targets["train"] | targets["select"])
