import gzip
import hashlib

import datasets
import pytest

from unskew.data.sources import TableSource, TextSource, open_source
from unskew.errors import ConfigError, DataError, MissingDataset


def test_a_gzipped_file_reads_like_the_plain_one(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(b"[1]", mtime=0))
    plain, packed = open_source(str(tmp_path / "a.json")), open_source(str(tmp_path / "b.json.gz"))
    assert isinstance(plain, TextSource) and isinstance(packed, TextSource)
    assert plain.text == packed.text
    assert packed.name == "b"
    assert plain.sha256 == hashlib.sha256(b"[1]").hexdigest()


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfid\n1\n")
    source = open_source(str(tmp_path / "a.csv"))
    assert isinstance(source, TextSource) and source.text == "id\n1\n"


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "stereoset.json").write_text("{}")
    with pytest.raises(MissingDataset, match=r"did you mean 'stereoset\.json'"):
        open_source(str(tmp_path / "stereoste.json"))
    with pytest.raises(MissingDataset, match="does not exist either"):
        open_source(str(tmp_path / "no" / "dev.json"))


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000, "a/b/c", "dev", "no/dev.json"])
def test_odd_names_are_missing_data_sets(name):
    with pytest.raises(DataError):
        open_source(name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b" \n", "the file is empty"),
        ("a.json.gz", gzip.compress(b"[1, 2, 3]" * 50, mtime=0)[:-20], "broken gzip"),
        ("a.json.gz", b"[1]", "broken gzip"),
        ("a.csv", b"id\ncaf\xe9\n", "byte 6 is not UTF-8"),
    ],
)
def test_broken_files_are_named_with_the_mend(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_source(str(tmp_path / name))
    assert name in str(caught.value)


def test_a_folder_must_hold_one_data_file(tmp_path):
    (tmp_path / "README.md").write_text("words")
    with pytest.raises(DataError, match="holds none"):
        open_source(str(tmp_path))
    (tmp_path / "dev.jsonl").write_text("{}")
    assert open_source(str(tmp_path)).name == "dev"
    (tmp_path / "test.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"dev\.jsonl, test\.jsonl"):
        open_source(str(tmp_path))


def test_a_revision_belongs_to_a_hub_id(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ConfigError, match="revision 'main'"):
        open_source(str(tmp_path / "a.json"), "main")


def test_a_saved_dataset_is_read_back(tmp_path):
    datasets.Dataset.from_list([{"stereotype": "a"}]).save_to_disk(tmp_path / "one")
    source = open_source(str(tmp_path / "one"))
    assert isinstance(source, TableSource)
    assert source.tables == {"": ({"stereotype": "a"},)}


def test_a_damaged_saved_dataset_says_to_save_it_again(tmp_path):
    datasets.Dataset.from_list([{"a": 1}]).save_to_disk(tmp_path / "one")
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(DataError, match="save it again"):
        open_source(str(tmp_path / "one"))


def test_the_hub_is_asked_for_every_configuration_of_stereoset(monkeypatch):
    asked = []

    def fake(name, configuration=None, *, revision=None):
        asked.append((name, configuration, revision))
        return datasets.DatasetDict(validation=datasets.Dataset.from_list([{"c": configuration}]))

    monkeypatch.setattr(datasets, "load_dataset", fake)
    source = open_source("McGill-NLP/stereoset", "abc")
    assert isinstance(source, TableSource)
    assert source.location == "McGill-NLP/stereoset@abc"
    assert set(source.tables) == {"intersentence", "intrasentence"}
    assert source.tables["intrasentence"] == ({"c": "intrasentence"},)
    assert [revision for _, _, revision in asked] == ["abc", "abc"]


def test_a_failing_hub_is_a_missing_data_set_with_a_mend(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(MissingDataset, match=r"no route to host; run `hf download"):
        open_source("someone/pairs")


def test_what_lies_here_wins_over_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone").mkdir()
    with pytest.raises(MissingDataset, match="in the folder 'someone'"):
        open_source("someone/pairs")
