import datasets
import pytest

from unskew.data.inspect import validate
from unskew.data.load import load_dataset
from unskew.errors import ConfigError, DataError, UnknownName

from .rows import row, write_csv, write_jsonl


def load(path, **options):
    return load_dataset(str(path), splits=None, **options).splits["report"].pairs


def test_two_columns_are_enough(tmp_path):
    (pair,) = load(write_jsonl(tmp_path / "a.jsonl", [row()]))
    assert pair.texts == ("Plant 0 is kind.", "Plant 0 is strong.")
    assert (pair.context, pair.category, pair.task) == ("Plant 0 is", "uncategorised", "pair")
    assert pair.target == pair.id


def test_jsonl_csv_json_list_and_saved_folder_agree(tmp_path):
    rows = [row(n, id=f"r{n}", category="size", target="plant", unrelated="Yes.") for n in (1, 2)]
    expected = load(write_jsonl(tmp_path / "a.jsonl", rows))
    write_csv(tmp_path / "a.csv", rows)
    (tmp_path / "a.json").write_text(str(rows).replace("'", '"'))
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "saved")
    for name in ("a.csv", "a.json", "saved"):
        assert load(tmp_path / name) == expected, name


def test_columns_are_mapped_from_our_name_to_theirs(tmp_path):
    path = write_csv(tmp_path / "a.csv", [{"bad": "a b", "good": "a c", "axis": "age", "n": 7}])
    columns = {"stereotype": "bad", "anti_stereotype": "good", "category": "axis", "id": "n"}
    (pair,) = load(path, columns=columns)
    assert (pair.id, pair.category, pair.stereotype) == ("7", "age", "a b")


@pytest.mark.parametrize(
    ("context", "texts", "start", "stereotype"),
    [
        ("Plant 0", None, 7, "Plant 0 is kind."),
        ("Look:", None, 5, "Look: Plant 0 is kind."),
        ("Plant 0 is BLANK.", None, 10, "Plant 0 is kind."),
    ],
)
def test_a_context_is_repeated_or_put_in_front_or_a_template(
    tmp_path, context, texts, start, stereotype
):
    (pair,) = load(write_jsonl(tmp_path / "a.jsonl", [row(context=context)]))
    assert (pair.completion_start, pair.stereotype) == (start, stereotype)


def test_an_id_made_from_the_content_does_not_depend_on_the_order(tmp_path):
    rows = [row(1), row(2), row(1)]
    forward = load(write_jsonl(tmp_path / "a.jsonl", rows))
    backward = load(write_jsonl(tmp_path / "b.jsonl", rows[::-1]))
    assert len({pair.id for pair in forward}) == 3
    assert set(forward) == set(backward)


def test_unknown_names_of_columns_and_formats_give_the_nearest(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [row()])
    with pytest.raises(UnknownName, match="did you mean 'stereotype'"):
        load(path, columns={"stereotyp": "x"})
    with pytest.raises(UnknownName, match="did you mean 'jsonl'"):
        load(path, format="jsonnl")
    (line,) = validate(path, columns={"stereotype": "stereo"})
    assert "header: stereo: no such column; map it" in line
    assert "did you mean 'stereotype'" in line


def test_settings_that_would_be_ignored_are_refused(tmp_path):
    crows = {"sent_more": "a b", "sent_less": "a c", "stereo_antistereo": "stereo"}
    path = write_csv(tmp_path / "a.csv", [crows | {"bias_type": "age"}])
    with pytest.raises(ConfigError, match="whose columns are fixed"):
        load(path, columns={"stereotype": "sent_more"})
    with pytest.raises(ConfigError, match="no datasets folder"):
        load(path, format="datasets")
    datasets.Dataset.from_list([row()]).save_to_disk(tmp_path / "saved")
    with pytest.raises(ConfigError, match="is no csv file"):
        load(tmp_path / "saved", format="csv")


def test_all_planted_faults_are_found_at_once(tmp_path):
    rows = [
        row(0, id="a", split="train"),
        row(1, id="a", split="train"),
        row(2, id="b", split="trian"),
        row(3, id="c", split="select", stereotype=""),
        row(4, id="d", split="test", unrelated=["x"]),
        row(5, id="e", split="test", anti_stereotype="Plant 5 is kind."),
        row(6, id="f", split="test", category="overall"),
        row(7, id="g", split="test", context="Plant 7", unrelated="Yes."),
        row(8, id="h"),
        "text",
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    expected = (
        "2: id: 'a' is also the id of row 1; give every row its own",
        "3: split: unknown value 'trian'; use train, select, validation, report, test; did you",
        "4: stereotype: is empty",
        "5: unrelated: is list ['x']",
        "6: anti_stereotype: is the same as the stereotype",
        "7: category: is 'overall'",
        "8: context: starts some texts and not all",
        "9: split: unknown value None",
        "10: row: is str",
    )
    lines = validate(path)
    assert len(lines) == len(expected)
    for line, wanted in zip(lines, expected, strict=True):
        assert line.startswith(f"{path}:{wanted}")
    with pytest.raises(DataError, match="and 4 more; `unskew data validate`") as caught:
        load(path)
    assert caught.value.problems == lines


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"data": {"intrasentence": [', "1: column 29: broken JSON"),
        ("a.json", "7", "neither an object nor a list"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.jsonl", '{"stereotype": 1}\n{', "2: line: is not JSON"),
        ("a.csv", 'stereotype,anti_stereotype\n"a', "broken CSV"),
        ("a.csv", "stereotype,anti_stereotype\na,b,c", "1: row: does not have 2 cells"),
        ("a.csv", "stereotype,stereotype,anti_stereotype\na,b,c", "stands twice"),
        ("a.csv", "stereotype,anti_stereotype\n", "there is no pair"),
        ("a.json", "[]", "there is no pair"),
        ("a.txt", "Dear diary,\n", "cannot be told from the content; name it: one of stereoset"),
    ],
)
def test_broken_files_say_where_and_what_to_do(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / name)
    assert any(message.split("; name")[0] in line for line in validate(str(tmp_path / name)))
