"""Winogender's files to sentences, and which of them are gotchas."""

from __future__ import annotations

from collections import Counter

import pytest

from unskew.data.measured import measured_format, refuse_to_learn
from unskew.data.sources import TableSource
from unskew.data.winogender import load_winogender
from unskew.errors import ConfigError, DataError

ROWS = (
    ("smith.client.1.male.txt", "The smith told the client that he could pay."),
    ("smith.client.0.female.txt", "The smith told the client that she had a hammer."),
    ("smith.client.1.female.txt", "The smith told the client that she could pay."),
    ("weaver.someone.0.neutral.txt", "The weaver asked someone for their yarn."),
    ("weaver.someone.0.male.txt", "The weaver asked someone for his yarn."),
    ("weaver.someone.0.female.txt", "The weaver asked someone for her yarn."),
)


def written(folder, rows=ROWS, women=(("smith", "3.5"), ("weaver", "80"))):
    lines = ["sentid\tsentence", *("\t".join(row) for row in rows)]
    (folder / "all_sentences.tsv").write_text("\n".join(lines) + "\n")
    if women:
        lines = ["occupation\tbergsma_pct_female\tbls_pct_female\tbls_year"]
        lines += [f"{name}\t50\t{percent}\t2015" for name, percent in women]
        (folder / "occupations-stats.tsv").write_text("\n".join(lines) + "\n")
    return str(folder)


def test_a_sentence_and_who_the_majority_suggests(tmp_path):
    """Men are smiths: he suggests the smith, she the client. Women are weavers."""
    dataset = load_winogender(written(tmp_path))
    first, *others = items = dataset.splits["report"].coreferences
    assert (first.sentence, first.pronoun) == (ROWS[0][1], "he")
    assert (first.candidates, first.right) == (("smith", "client"), 1)
    assert (first.category, first.target) == ("participant", "smith")
    assert [i.category for i in others] == ["occupation", "participant", *["occupation"] * 3]
    assert [i.follows for i in items] == [False, False, True, None, False, True]
    assert [i.pronoun for i in others[2:]] == ["their", "his", "her"]
    assert dataset.drops == ()


def test_without_the_figures_nothing_is_told_and_the_record_says_so(tmp_path):
    dataset = load_winogender(written(tmp_path, women=()))
    assert {i.follows for i in dataset.splits["report"].coreferences} == {None}
    assert len(dataset.drops) == 5
    other = tmp_path / "x"
    other.mkdir()
    assert load_winogender(written(other)).sha256 != dataset.sha256


def test_an_even_occupation_has_no_majority(tmp_path):
    dataset = load_winogender(written(tmp_path, women=(("smith", "50"), ("weaver", "50.1"))))
    follows = [i.follows for i in dataset.splits["report"].coreferences]
    assert follows == [None, None, None, None, False, True]


def test_every_fault_is_found_at_once(tmp_path):
    rows = (
        ROWS[0],
        ROWS[0],
        ("smith.client.male.txt", "The smith told the client that he could pay."),
        ("smith.client.2.male.txt", "The smith told the client that he could pay."),
        ("smith.client.1.men.txt", "The smith told the client that he could pay."),
        ("smith.client.0.male.txt", "The smith told the client that she could pay."),
        ("smith.client.0.neutral.txt", ""),
    )
    with pytest.raises(DataError) as caught:
        load_winogender(written(tmp_path, rows))
    file = tmp_path / "all_sentences.tsv"
    expected = (
        "2: sentid: 'smith.client.1.male.txt' is also the id of row 1",
        "3: sentid: is 'smith.client.male.txt'; give OCCUPATION",
        "4: sentid: answer: unknown value '2'; use 0, 1",
        "5: sentid: gender: unknown value 'men'; use male, female, neutral",
        "6: sentence: holds 0 male pronouns",
        "7: sentence: is empty",
    )
    assert len(caught.value.problems) == len(expected)
    for line, wanted in zip(caught.value.problems, expected, strict=True):
        assert line.startswith(f"{file}:{wanted}")


def test_a_figure_that_is_no_percentage_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"occupations-stats\.tsv:1: bls_pct_female: is 'many'"):
        load_winogender(written(tmp_path, women=(("smith", "many"),)))


def test_of_the_hub_the_part_gotcha_says_which(monkeypatch):
    rows = tuple({"sentid": i, "sentence": s} for i, s in ROWS)
    tables = {"all": rows, "gotcha": (rows[0], rows[1], rows[4])}
    source = TableSource("winogender", "hub/winogender", "0", tables)
    monkeypatch.setattr("unskew.data.winogender.open_source", lambda *_: source)
    items = load_winogender("hub/winogender").splits["report"].coreferences
    assert [i.follows for i in items] == [False, False, True, None, False, True]


def test_it_is_known_by_its_header(tmp_path):
    place = written(tmp_path)
    assert measured_format(place) == "winogender"
    assert measured_format(f"{place}/all_sentences.tsv") == "winogender"
    assert measured_format(place, "jsonl") is None
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    assert measured_format(str(tmp_path / "other.tsv")) is None


def test_nobody_learns_from_it(tmp_path):
    place = written(tmp_path)
    with pytest.raises(ConfigError, match=f"to learn from.*auto,winogender:{place}"):
        refuse_to_learn(place)
    refuse_to_learn(str(tmp_path / "pairs.jsonl"))


def test_the_published_counts(lab):
    """720 sentences; as many gotchas as others, 120 of each gender."""
    dataset = load_winogender(str(lab / "data" / "winogender"))
    items = dataset.splits["report"].coreferences
    assert (len(items), len({i.target for i in items})) == (720, 60)
    assert Counter((i.gender, i.follows) for i in items) == {
        ("male", True): 120,
        ("male", False): 120,
        ("female", True): 120,
        ("female", False): 120,
        ("neutral", None): 240,
    }
