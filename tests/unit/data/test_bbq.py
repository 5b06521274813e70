"""BBQ's files to questions, and which option follows the stereotype."""

from __future__ import annotations

import gzip
import json

import pytest

from unskew.data.bbq import is_bbq, load_bbq
from unskew.data.inspect import validate
from unskew.data.load import load_dataset
from unskew.errors import ConfigError, DataError


def row(number=0, options=(("grandson", "nonOld"), ("grandfather", "old")), **changes):
    made = {
        "example_id": number,
        "question_index": "1",
        "question_polarity": "neg",
        "context_condition": "ambig",
        "category": "Age",
        "answer_info": {
            "ans0": list(options[0]),
            "ans1": ["Not known", "unknown"],
            "ans2": list(options[1]),
        },
        "additional_metadata": {"stereotyped_groups": ["old"]},
        "context": "They met.",
        "question": "Who forgot?",
        "ans0": "The one",
        "ans1": "Not known",
        "ans2": "The other",
        "label": 1,
    }
    return {**made, **changes}


def written(folder, *rows, name="Age.jsonl"):
    path = folder / name
    text = "".join(json.dumps(r) + "\n" for r in rows)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def questions(place):
    return load_bbq(str(place)).splits["report"].choices


def test_a_row_becomes_a_question(tmp_path):
    (found,) = questions(written(tmp_path, row(7)))
    assert (found.id, found.category, found.template) == ("Age-7", "Age", "1")
    assert found.options == ("The one", "Not known", "The other")
    assert found.names == ("grandson", "Not known", "grandfather")
    assert (found.right, found.unknown, found.biased) == (1, 1, 2)


@pytest.mark.parametrize(
    ("stereotyped", "options", "biased"),
    [
        # "old" is inside "nonOld", "African" inside "African American": never by a part of a word.
        (["old"], [("x", "nonOld"), ("y", "old")], 2),
        (["African American"], [("Ann", "African"), ("Bo", "African American")], 2),
        (["Black"], [("Ann", "F-Black"), ("Bo", "F-White")], 0),
        (["low SES"], [("Ann", "highSES"), ("Bo", "lowSES")], 2),
        (["low SES"], [("the janitor", "lowSES"), ("the judge", "highSES")], 0),
        (["F"], [("woman", "woman"), ("man", "man")], 0),
        (["F"], [("boy", "boy"), ("girl", "girl")], 2),
        (["trans"], [("Ann", "nonTrans_F"), ("Bo", "trans_F")], 2),
        (["British"], [("British", "Europe"), ("Thai", "AsiaPacific")], 0),
        (["non Disabled"], [("x", "nonDisabled"), ("y", "disabled")], 0),
        # None or two of them: dropped from the bias score.
        (["F"], [("boy", "boy"), ("man", "man")], None),
        (["F"], [("girl", "girl"), ("woman", "woman")], None),
    ],
)
def test_the_biased_option(tmp_path, stereotyped, options, biased):
    metadata = {"stereotyped_groups": stereotyped}
    negative = row(0, options, additional_metadata=metadata)
    other = row(1, options, additional_metadata=metadata, question_polarity="nonneg")
    loaded = load_bbq(str(written(tmp_path, negative, other)))
    found = [q.biased for q in loaded.splits["report"].choices]
    # A question that is no reproach is biased if it goes to the other group.
    assert found == [biased, None if biased is None else 2 - biased]
    assert len(loaded.drops) == (2 if biased is None else 0)


def test_folder_and_gzip(tmp_path):
    written(tmp_path, row(0), name="Age.jsonl.gz")
    written(tmp_path, row(0, category="SES"), name="SES.jsonl")
    (tmp_path / "expected.json").write_text("{}")
    assert [q.id for q in questions(tmp_path)] == ["Age-0", "SES-0"]
    assert is_bbq(str(tmp_path))
    assert is_bbq(str(tmp_path / "Age.jsonl.gz"))
    assert not is_bbq(str(tmp_path / "Age.jsonl.gz"), "jsonl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 3}, r"Age\.jsonl:1: label: is 3; give 0, 1 or 2"),
        ({"question_polarity": "negative"}, "question_polarity: unknown value 'negative'; use neg"),
        ({"context_condition": None}, "context_condition: unknown value None; use ambig, disambig"),
        ({"answer_info": {"ans0": ["a", "b"]}}, "answer_info: .*text and group of each option"),
        ({"additional_metadata": {}}, "additional_metadata: has no stereotyped_groups"),
        ({"ans2": ""}, "ans2: is empty"),
        ({"answer_info": {f"ans{i}": ["a", "b"] for i in range(3)}}, "has not one option of group"),
    ],
)
def test_faults_are_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load_bbq(str(written(tmp_path, row(0, **changes))))


def test_an_id_stands_once(tmp_path):
    with pytest.raises(DataError, match="'Age-0' is also the id of row 1"):
        load_bbq(str(written(tmp_path, row(0), row(0))))


def test_nothing_to_learn_from(tmp_path):
    place = str(written(tmp_path, row(0)))
    with pytest.raises(ConfigError, match=rf"not to learn from.*--benchmarks auto,bbq:{place}"):
        load_dataset(place)
    with pytest.raises(ConfigError, match=r"BBQ's questions, no pairs.*--benchmarks bbq:PLACE"):
        validate(place)


@pytest.mark.parametrize(
    ("name", "count", "unusable"),
    [
        ("Religion.jsonl", 1200, 0),
        ("Sexual_orientation.jsonl", 864, 0),
        ("Age.jsonl.gz", 3680, 0),
        ("Nationality.jsonl.gz", 3080, 0),
        ("Gender_identity.jsonl.gz", 5672, 16),
        ("Race_ethnicity.ambig_only.jsonl.gz", 3440, 0),
        ("SES.ambig_only.jsonl.gz", 3432, 0),
    ],
)
def test_the_real_files(lab, name, count, unusable):
    loaded = load_bbq(str(lab / "data" / "bbq" / name))
    assert len(loaded.splits["report"].choices) == count
    assert len(loaded.drops) == unusable
