from collections import Counter

from unskew.data.inspect import validate
from unskew.data.load import load_dataset

from .rows import write_csv

ROW = {
    "": "0",
    "sent_more": "The poor are rude.",
    "sent_less": "The rich are rude.",
    "stereo_antistereo": "antistereo",
    "bias_type": "socioeconomic",
}


def test_sent_more_is_the_stereotype_whatever_the_direction(tmp_path):
    path = write_csv(tmp_path / "pairs.csv", [ROW, ROW | {"": "1", "stereo_antistereo": "stereo"}])
    first, second = load_dataset(path, splits=None).splits["report"].pairs
    assert (first.stereotype, first.anti_stereotype) == ("The poor are rude.", "The rich are rude.")
    assert (first.tags, second.tags) == (("antistereo",), ("stereo",))
    assert (first.id, first.target, first.category) == ("crows-0", "crows-0", "socioeconomic")
    assert (first.task, first.context, first.unrelated) == ("pair", "The", None)


def test_every_fault_is_found_at_once(tmp_path):
    path = write_csv(
        tmp_path / "pairs.csv",
        [
            ROW,
            ROW | {"": "1", "bias_type": "wealth"},
            ROW | {"": "2", "stereo_antistereo": ""},
            ROW | {"": "3", "sent_less": "The poor are rude."},
            ROW | {"": "4", "sent_more": " "},
            ROW,
        ],
    )
    lines = validate(path)
    expected = (
        "2: bias_type: unknown value 'wealth'; use age",
        "3: stereo_antistereo: unknown value ''; use stereo, antistereo",
        "4: sent_less: is the same text",
        "5: sent_more: is empty",
        "6: id: 'crows-0' is also the id of row 1",
    )
    assert len(lines) == len(expected)
    for line, wanted in zip(lines, expected, strict=True):
        assert line.startswith(f"{path}:{wanted}")


def test_the_published_counts(lab):
    path = str(lab / "data" / "crows_pairs" / "crows_pairs_anonymized.csv")
    pairs = load_dataset(path, splits=None).splits["report"].pairs
    assert Counter(pair.category for pair in pairs) == {
        "race-color": 516,
        "gender": 262,
        "socioeconomic": 172,
        "nationality": 159,
        "religion": 105,
        "age": 87,
        "sexual-orientation": 84,
        "physical-appearance": 63,
        "disability": 60,
    }
    assert Counter(pair.tags[0] for pair in pairs) == {"stereo": 1290, "antistereo": 218}


def test_a_row_whose_direction_slipped_into_the_type_is_left_out_and_counted(tmp_path):
    path = write_csv(tmp_path / "pairs.csv", [ROW, ROW | {"": "1", "bias_type": "stereo"}])
    dataset = load_dataset(path, splits=None)
    assert [pair.id for pair in dataset.splits["report"].pairs] == ["crows-0"]
    (drop,) = dataset.drops
    assert drop.id == "crows-1"
    assert "holds the direction" in drop.reason


def test_the_categories_of_the_revisions_are_read(tmp_path):
    types = ("other", "autre", "Race-color")
    rows = [ROW | {"": str(i), "bias_type": name} for i, name in enumerate(types)]
    pairs = load_dataset(write_csv(tmp_path / "p.csv", rows), splits=None).splits["report"].pairs
    assert [pair.category for pair in pairs] == ["other", "autre", "race-color"]


def test_the_revised_file(lab):
    """1467 rows: nine of type `other`, one `Race-color`, and one `stereo`, which is left out."""
    path = str(lab / "data" / "crows_pairs" / "crows_revised_kinit.csv")
    assert validate(path) == ()
    dataset = load_dataset(path, splits=None)
    counts = Counter(pair.category for pair in dataset.splits["report"].pairs)
    assert (sum(counts.values()), counts["other"], counts["race-color"]) == (1466, 9, 501)
    assert [drop.id for drop in dataset.drops] == ["crows-1293"]
