"""Plain text to documents."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise

import datasets
import pytest

from unskew.data.text import PIECE_CHARACTERS, load_text
from unskew.errors import DataError, MissingDataset

WIKITEXT = "\n".join(
    (
        " ",
        " = Du Fu = ",
        " ",
        " Du Fu was a poet . ",
        " ",
        " = = Life = = ",
        " ",
        " He was born in 712 . ",
        " = 1 x + 2 y = ",
        " ",
        " = Manila = ",
        " ",
        " Manila is a city . ",
        "",
    )
)


def documents(place, **options):
    return load_text(str(place), **options).splits["report"].documents


def test_a_wikitext_is_cut_into_its_articles(tmp_path):
    """Neither a heading of a section nor a formula begins an article."""
    (tmp_path / "test.txt").write_text(WIKITEXT)
    found = documents(tmp_path / "test.txt")
    assert [(d.id, d.kind) for d in found] == [("test-00001", "test"), ("test-00002", "test")]
    assert [d.text.split() == t.split() for d, t in zip(found, _articles(), strict=True)] == [
        True,
        True,
    ]


def _articles() -> list[str]:
    cut = WIKITEXT.index(" = Manila")
    return [WIKITEXT[:cut], WIKITEXT[cut:]]


def test_a_gzipped_file_and_rows_of_lines_give_the_same_articles(tmp_path):
    plain = tmp_path / "test.txt"
    plain.write_text(WIKITEXT)
    packed = tmp_path / "test.txt.gz"
    packed.write_bytes(gzip.compress(WIKITEXT.encode()))
    lines = [f"{line}\n" if line.strip() else "" for line in WIKITEXT.split("\n")]
    datasets.Dataset.from_dict({"text": lines}).save_to_disk(str(tmp_path / "saved"))
    words = [[d.text.split() for d in documents(p)] for p in (plain, packed, tmp_path / "saved")]
    assert words[0] == words[1] == words[2]
    assert len(words[0]) == 2


def test_text_without_headings_is_cut_at_line_ends(tmp_path):
    lines = [f"{i} " + "word " * (i % 60) + "\n" for i in range(300)]
    (tmp_path / "own.txt").write_text("".join(lines))
    found = documents(tmp_path / "own.txt")
    assert "".join(d.text for d in found) == "".join(lines)
    assert len(found) > 5
    assert all(len(d.text) <= PIECE_CHARACTERS and d.text.endswith("\n") for d in found)
    # No piece could have taken the first line of the next.
    for one, other in pairwise(found):
        assert len(one.text) + len(other.text.splitlines(keepends=True)[0]) > PIECE_CHARACTERS


def test_rows_are_documents(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in ("One.", "Two.", " ")))
    assert [d.text for d in documents(path)] == ["One.", "Two."]


def test_a_folder_gives_all_its_texts_under_its_own_name(tmp_path):
    folder = tmp_path / "talk"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "notes.md"):
        (folder / name).write_text(f"text of {name}\n")
    loaded = load_text(str(folder))
    assert loaded.name == "talk"
    assert [(d.id, d.text) for d in loaded.splits["report"].documents] == [
        ("a-00001", "text of a.txt\n"),
        ("b-00001", "text of b.txt\n"),
    ]
    assert loaded.sha256 != load_text(str(folder / "a.txt")).sha256


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", " \n", "the file is empty"),
        ("x.jsonl", '{"body": "a"}\n', r"x.jsonl:1: no text in column text or page .*has: body"),
        ("x.jsonl", '{"text": 3}\n', r"x.jsonl:1: no text in column text or page"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load_text(str(tmp_path / name))


def test_a_folder_without_text_and_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"holds no file that ends in \.txt"):
        load_text(str(tmp_path))
    (tmp_path / "test.txt").write_text("a\n")
    with pytest.raises(MissingDataset, match=r"did you mean 'test\.txt'"):
        load_text(str(tmp_path / "tset.txt"))


def test_a_hub_set_is_read_by_its_test_split(monkeypatch):
    asked = []

    def load(name, *configuration, revision=None):
        asked.append((name, configuration))
        made = {s: datasets.Dataset.from_dict({"text": [f"of {s}"]}) for s in ("train", "test")}
        return datasets.DatasetDict(made)

    monkeypatch.setattr(datasets, "load_dataset", load)
    loaded = load_text("Salesforce/wikitext")
    assert asked == [("Salesforce/wikitext", ("wikitext-2-raw-v1",))]
    assert [d.text for d in loaded.splits["report"].documents] == ["of test"]


def test_several_splits_without_a_test_split_are_refused(monkeypatch):
    made = {s: datasets.Dataset.from_dict({"text": [s]}) for s in ("train", "validation")}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.DatasetDict(made))
    with pytest.raises(DataError, match="has the splits train, validation and none named test"):
        load_text("org/text")


def test_wikitext_2_has_sixty_articles(lab):
    loaded = load_text(str(lab / "data" / "wikitext-2"))
    found = loaded.splits["report"].documents
    assert (loaded.name, len(found)) == ("wikitext-2", 60)
    whole = (lab / "data" / "wikitext-2" / "test.txt").read_text(encoding="utf-8")
    assert sum(len(d.text.split()) for d in found) == len(whole.split())
