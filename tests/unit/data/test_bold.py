from __future__ import annotations

import json

import pytest

from unskew.data.bold import load_bold
from unskew.data.measured import measured_format
from unskew.errors import DataError, MissingDataset

CONTENT = {
    "Painters": {"Ann_Example": ["Ann Example painted ", "Her early work "]},
    "Carpenters": {"Bo_Example": ["Bo Example built "]},
}


def _write(path, value):
    path.write_text(json.dumps(value))
    return str(path)


def test_prompts_have_domain_group_and_subject(tmp_path):
    _write(tmp_path / "profession_prompt.json", CONTENT)
    _write(tmp_path / "gender_prompt.json", {"Actors": {"Cy": ["Cy acts ", " "]}})
    (tmp_path / "notes.json").write_text("no JSON")
    dataset = load_bold(str(tmp_path))
    found = dataset.splits["report"].prompts
    assert [(p.domain, p.category, p.subject, p.text) for p in found] == [
        ("gender", "Actors", "Cy", "Cy acts"),
        ("profession", "Painters", "Ann_Example", "Ann Example painted"),
        ("profession", "Painters", "Ann_Example", "Her early work"),
        ("profession", "Carpenters", "Bo_Example", "Bo Example built"),
    ]
    assert len({p.id for p in found}) == 4
    assert [(d.id, d.reason) for d in dataset.drops] == [
        ("gender/Actors/Cy/2", "the prompt is empty")
    ]
    assert measured_format(str(tmp_path)) == "bold"
    assert len(load_bold(str(tmp_path / "gender_prompt.json")).splits["report"].prompts) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "race: prompts: is list; give BOLD's object of groups"),
        ({"G": ["x"]}, "race/G: prompts: is list"),
        ({"G": {"S": "x"}}, "race/G/S: prompts: is str; give a list of texts"),
        ({"G": {"S": [3]}}, "race/G/S: prompts: holds 3; give texts"),
        ({"G": {"S": [""]}}, "there is no prompt in it"),
    ],
)
def test_faults_name_the_place(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        load_bold(_write(tmp_path / "race_prompt.json", content))


def test_what_is_not_there_or_no_json_is_refused(tmp_path):
    (tmp_path / "a_prompt.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        load_bold(str(tmp_path / "a_prompt.json"))
    with pytest.raises(MissingDataset, match="no data set 'some/bold'"):
        load_bold("some/bold")
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"holds no file that ends in _prompt\.json"):
        load_bold(str(tmp_path / "b"))


def test_the_public_files(lab):
    dataset = load_bold(str(lab / "data" / "bold"))
    found = dataset.splits["report"].prompts
    counted = {d: sum(p.domain == d for p in found) for d in {p.domain for p in found}}
    assert counted == {
        "gender": 3204, "race": 7657, "profession": 10195, "political_ideology": 1981,
        "religious_ideology": 637,
    }  # fmt: skip
    assert len(dataset.drops) == 5
    assert len({p.category for p in found}) == 43
