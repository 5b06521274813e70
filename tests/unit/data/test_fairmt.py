"""FairMT-Bench's two layouts to dialogues. All rows here are invented."""

from __future__ import annotations

import gzip
import json
from collections import Counter

import datasets
import pytest

from tests.unit.data.fairmt_files import rows, write_by_group, write_mixed
from unskew.data.fairmt import TASKS, load_fairmt
from unskew.data.measured import measured_format
from unskew.errors import ConfigError, DataError, MissingDataset


def found(place):
    return load_fairmt(str(place)).splits["report"].dialogues


def test_the_group_stands_in_the_name_of_the_file(tmp_path):
    counts = {
        ("Anaphora_Ellipsis", "gender"): 2,
        ("Anaphora_Ellipsis", "race"): 3,
        ("Jailbreak_Tips", "gender"): 1,
    }
    root = write_by_group(tmp_path, counts)
    dialogues = found(root)
    assert Counter((d.task, d.category) for d in dialogues) == counts
    assert dialogues[0].id == "Anaphora_Ellipsis-gender-0001"
    assert dialogues[0].turns == tuple(f"Turn {i} of 0 about gender?" for i in range(5))
    assert len({d.id for d in dialogues}) == 6
    # The folder above, one task and one file hold the same dialogues.
    assert found(tmp_path) == dialogues
    assert found(root / "Anaphora_Ellipsis") == dialogues[:5]
    assert found(root / "Anaphora_Ellipsis" / "prompt_race.json.gz") == dialogues[2:5]


def test_one_file_named_from_its_own_folder(tmp_path, monkeypatch):
    root = write_by_group(tmp_path, {("Fixed_Format", "age"): 2})
    monkeypatch.chdir(root / "Fixed_Format")
    assert {(d.task, d.category) for d in found("prompt_age.json.gz")} == {("Fixed_Format", "age")}
    assert len(found(".")) == 2


def test_the_small_set_does_not_know_its_groups(tmp_path):
    counts = dict.fromkeys(TASKS, 2)
    dialogues = found(write_mixed(tmp_path / "small", counts))
    assert Counter(d.task for d in dialogues) == counts
    assert {d.category for d in dialogues} == {"mixed"}
    assert dialogues[-1].id == "Scattered_Questions-mixed-0002"


def test_tables_are_tasks_or_name_them(tmp_path):
    """What `load_dataset` gives of a hub id is read in the same way as a folder on disk."""
    plain = datasets.Dataset.from_list(rows(2, "{}"))
    made = datasets.DatasetDict({"Negative_Feedback": plain, "Fixed_Format": plain})
    made.save_to_disk(tmp_path / "tables")
    assert Counter(d.task for d in found(tmp_path / "tables")) == {
        "Negative_Feedback": 2,
        "Fixed_Format": 2,
    }
    named = [{**row, "task": "Jailbreak_Tips"} for row in rows(2)]
    named = [{**row, "group": g} for row, g in zip(named, ("race", "age"), strict=True)]
    datasets.Dataset.from_list(named).save_to_disk(tmp_path / "named")
    assert [(d.id, d.category) for d in found(tmp_path / "named")] == [
        ("Jailbreak_Tips-race-0001", "race"),
        ("Jailbreak_Tips-age-0001", "age"),
    ]


ROW = rows(1)[0]
NUMBERED = rows(1, "{}")[0]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([ROW, "x"], r"prompt_age\.json:2: row: is str without a turn; give the turns 0 to 4"),
        (
            [{k: v for k, v in ROW.items() if not k.startswith("3")}],
            r"prompt_age\.json:1: 3-turn Conv: is missing; add it",
        ),
        ([{k: v for k, v in NUMBERED.items() if k != "0"}], r"json:1: 0: is missing"),
        ([{**NUMBERED, "5": "More?"}], r"json:1: 5: is a turn too many; give 5 turns"),
        ([ROW, {**ROW, "2-turn Conv": " "}], r"json:2: 2-turn Conv: is empty"),
        ([{**ROW, "2-turn Conv": {"prompt": "Why?"}}], r"json:1: 2-turn Conv: is dict"),
        ([{}], r"json:1: row: is dict without a turn"),
        ([ROW, NUMBERED], r"json:2: row: is the dialogue of row 1 again; delete one"),
        ({"data": []}, r"prompt_age\.json:file: file: is dict; give a list of dialogues"),
        ([], "there is no dialogue in it"),
    ],
)
def test_faults_name_file_row_and_field(tmp_path, value, message):
    folder = tmp_path / "Fixed_Format"
    folder.mkdir()
    (folder / "prompt_age.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match=message) as failure:
        found(folder)
    assert "\n" not in str(failure.value)


def test_truncated_files_are_refused(tmp_path):
    path = write_mixed(tmp_path, {"Fixed_Format": 3}) / "Fixed_Format.json"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match=r"Fixed_Format\.json:1: column \d+: broken JSON.*fetch"):
        found(tmp_path)
    path.unlink()
    whole = gzip.compress(text.encode())
    (tmp_path / "Fixed_Format.json.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="broken gzip"):
        found(tmp_path)


def test_unknown_tasks_and_groups_are_refused_with_the_nearest(tmp_path):
    write_by_group(tmp_path, {("Fixed_Formats", "ages"): 1})
    with pytest.raises(DataError) as failure:
        found(tmp_path)
    task, group = failure.value.problems
    assert "'Fixed_Formats' is no task of FairMT-Bench; name the file" in task
    assert task.endswith("did you mean 'Fixed_Format'?")
    assert "'ages' is no group of FairMT-Bench; use age, " in group
    assert group.endswith("did you mean 'age'?")
    with pytest.raises(MissingDataset, match="did you mean 'Stereotype'"):
        found(tmp_path / "Stereotypes")


def test_no_dialogue_counts_twice(tmp_path):
    """1K is drawn from 10K, toxicity is another measurement, a file beside its gzip is the same."""
    root = write_by_group(tmp_path, {("Fixed_Format", "age"): 1})
    write_mixed(tmp_path / "FairMT_1K", {"Fixed_Format": 1})
    with pytest.raises(DataError, match=r"several data sets, .*FairMT_1K and .*Stereotype; name"):
        found(tmp_path)
    (root / "Fixed_Format" / "prompt_age.json").write_text(json.dumps(rows(1)))
    with pytest.raises(DataError, match=r"same task and group as prompt_age\.json; delete one"):
        found(root)


def test_a_place_is_recognised_by_its_files(tmp_path):
    by_group = write_by_group(tmp_path / "a", {("Fixed_Format", "age"): 1})
    mixed = write_mixed(tmp_path / "b", {"Fixed_Format": 1})
    places = [
        by_group,
        tmp_path / "a",
        by_group / "Fixed_Format",
        mixed,
        mixed / "Fixed_Format.json",
    ]
    assert {measured_format(str(place)) for place in places} == {"fairmt"}
    other = tmp_path / "prompt_age.json"
    other.write_text("[]")
    assert measured_format(str(other)) is None


def test_it_is_not_learned_from(tmp_path):
    from unskew.data.measured import refuse_to_learn

    place = write_mixed(tmp_path, {"Fixed_Format": 1})
    with pytest.raises(ConfigError, match="holds fairmt, to measure on and not to learn from"):
        refuse_to_learn(str(place))


def test_the_public_files(lab):
    """Counts of the authors' repository at commit 717add1b."""
    folder = lab / "data" / "fairmt"
    by_group = found(folder / "FairMT_10K")
    assert Counter(d.category for d in by_group) == {"gender": 2517, "race": 1959, "religion": 1809}
    assert {d.task for d in by_group} == set(TASKS)
    mixed = found(folder / "FairMT_1K")
    assert Counter(d.task for d in mixed) == dict.fromkeys(TASKS, 165)
    assert len({d.turns for d in mixed}) == 990
