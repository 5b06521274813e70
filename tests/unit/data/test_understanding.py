"""The original files of the understanding tasks. All rows here are invented."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from unskew.data.measured import measured_format
from unskew.data.sources import TableSource
from unskew.data.understanding import LAYOUTS, load_understanding, prompts
from unskew.errors import DataError

PAIR = {"sentence1": "One cat sat.", "sentence2": "A cat was sitting."}
FILES = {
    "sst2": (
        "dev.tsv",
        'a "fine" film\t1\na dull film\t0\n',
        {"sentence": 'a "fine" film'},
        [1, 0],
    ),
    "mrpc": (
        "dev.txt",
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
        "1\t5\t6\tOne cat sat.\tA cat was sitting.\n",
        PAIR,
        [1],
    ),
    "cola": (
        "dev.tsv",
        "gj04\t1\t\tCats sleep.\ngj04\t0\t*\tSleep cats the.\n",
        {"sentence": "Cats sleep."},
        [1, 0],
    ),
    "rte": (
        "dev.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\tOne cat sat.\tA cat was sitting.\tentailment\n"
        "1\tOne cat sat.\tA dog sat.\tnot_entailment\n",
        PAIR,
        [0, 1],
    ),
    "flute": (
        "idiom.jsonl",
        json.dumps({"id": 1, "premise": "It was easy.", "hypothesis": "It was a breeze."})[:-1]
        + ', "label": "Entailment"}\n',
        {"premise": "It was easy.", "hypothesis": "It was a breeze."},
        [0],
    ),
    "amazon_polarity": (
        "test.csv",
        '"2","Good","I like ""it"", and more."\n"1","Bad","It broke."\n',
        {"title": "Good", "content": 'I like "it", and more.'},
        [1, 0],
    ),
}


def written(folder, task, text=None):
    name, content, _, _ = FILES[task]
    (folder / name).write_text(text or content, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize("task", sorted(LAYOUTS))
def test_the_original_file(tmp_path, task):
    place = written(tmp_path, task)
    dataset = load_understanding(task, place)
    items = dataset.splits["report"].labelled
    _, _, fields, labels = FILES[task]
    assert (items[0].fields, [i.label for i in items]) == (fields, labels)
    assert {(i.task, i.category) for i in items} == {(task, task)}
    assert items[0].id.endswith("-000001")
    assert (dataset.name, dataset.source) == (task, place)


@pytest.mark.parametrize("task", sorted(LAYOUTS))
def test_a_file_is_known_by_its_layout(tmp_path, task):
    assert measured_format(written(tmp_path, task)) == task


@pytest.mark.parametrize("task", sorted(LAYOUTS))
def test_rows_of_the_hub(monkeypatch, task):
    """Numbers from 0, in the split whose labels are known."""
    asked = {}
    row = FILES[task][2] | {"label": 1, "idx": 0}
    split = {"flute": "train", "amazon_polarity": "test"}.get(task, "validation")
    tables = {split: (row,), "other": (row | {"label": 0},) * 3}

    def source(*_, configuration=None):
        asked["configuration"] = configuration
        return [TableSource("hub", "org/hub", "0", tables)]

    monkeypatch.setattr("unskew.data.understanding.open_folder", source)
    (item,) = load_understanding(task, "org/hub").splits["report"].labelled
    assert (item.label, item.fields) == (1, FILES[task][2])
    assert asked["configuration"] == (None if task in ("flute", "amazon_polarity") else task)


def test_every_fault_is_found_at_once(tmp_path):
    place = written(tmp_path, "sst2", "good\t1\nbad\t2\n \t0\nno label\nhidden\t-1\n")
    with pytest.raises(DataError) as caught:
        load_understanding("sst2", place)
    expected = (
        "2: label: unknown value '2'; use 0, 1",
        "3: sentence: is empty",
        "4: row: is ['no label']; give the columns sentence, label",
        "5: label: unknown value '-1'; the labels of this split are hidden",
    )
    assert len(caught.value.problems) == len(expected)
    for line, wanted in zip(caught.value.problems, expected, strict=True):
        assert line.startswith(f"{place}:{wanted}")


def test_a_line_that_is_not_json_is_named(tmp_path):
    place = written(tmp_path, "flute", FILES["flute"][1] + "oh\n")
    with pytest.raises(DataError, match=r"idiom\.jsonl:2: row: is 'oh'; give the columns premise"):
        load_understanding("flute", place)


def test_the_files_of_a_folder_are_categories(tmp_path):
    for name in ("idiom_test", "simile_test"):
        (tmp_path / f"{name}.jsonl").write_text(FILES["flute"][1])
    items = load_understanding("flute", str(tmp_path)).splits["report"].labelled
    assert [i.category for i in items] == ["idiom_test", "simile_test"]
    assert len({i.id for i in items}) == 2


@pytest.mark.parametrize("task", sorted(LAYOUTS))
def test_the_shots_are_as_many_of_each_label(task):
    prompt = prompts()[task]
    assert len(prompt.shots) == (2 if task == "rte" else 4)
    assert set(Counter(shot["label"] for shot in prompt.shots).values()) == {len(prompt.shots) / 2}
    for shot in prompt.shots:
        assert set(shot) == {"label", *prompt.columns}
        assert prompt.asked(shot, with_shots=False) in prompt.asked(shot, with_shots=True)


@pytest.mark.parametrize(
    ("task", "place", "labels"),
    [
        ("sst2", "glue/SST-2/dev.tsv", {0: 428, 1: 444}),
        ("cola", "glue/CoLA", {0: 324, 1: 719}),
        ("rte", "glue/RTE/dev.tsv", {0: 146, 1: 131}),
        ("mrpc", "glue/MRPC/msr_paraphrase_test.txt", {0: 578, 1: 1147}),
        ("flute", "flute", {0: 663, 1: 835}),
    ],
)
def test_the_published_counts(lab, task, place, labels):
    path = str(lab / "data" / place)
    assert measured_format(path) == task
    items = load_understanding(task, path).splits["report"].labelled
    assert Counter(i.label for i in items) == labels
