"""Exchange of groups in texts: an involution, on whole words, in any case, consistently."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures import TARGETS, documents, pairs
from unskew.data.batches import ChunkSizes, PairChunks
from unskew.data.counterfactual import (
    Counterfactuals,
    WordTable,
    naming_a_group,
    stereotypes,
    word_table,
)
from unskew.errors import ConfigError, DataError
from unskew.types import Document, Segment

GENDER = [["he", "she"], ["him", "her"], ["his _", "her _"], ["man", "woman"], ["his", "hers"]]
FAITH = [["Muslim", "Jewish", "Christian"], ["mosque", "synagogue", "church"]]
TABLE = WordTable({"gender": GENDER, "faith": FAITH})
WORDS = [
    "he",
    "She",
    "HER.",
    "man's",
    "woman",
    "theme",
    "shed",
    "her book",
    "Jewish",
    "CHURCH",
    "!",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He told her.", "She told him."),
        ("She gave her book to him; it is hers.", "He gave his book to her; it is his."),
        ("THE WOMAN's theme: mankind, (man) and mother-woman", None),
        ("The theme of the shed.", "The theme of the shed."),
    ],
)
def test_words_are_whole_and_keep_their_case(text, expected):
    if expected is None:
        expected = "THE MAN's theme: mankind, (woman) and mother-man"
    assert TABLE.exchanged(text, 1) == expected


def test_two_groups_in_a_text_stay_two():
    text = "A Muslim and a christian met in the Mosque, not the CHURCH."
    assert TABLE.counterfactuals(text) == [
        "A Jewish and a muslim met in the Synagogue, not the MOSQUE.",
        "A Christian and a jewish met in the Church, not the SYNAGOGUE.",
    ]


def test_a_text_without_a_group_has_no_counterfactual():
    assert TABLE.counterfactuals("The theme of the shed.") == []


@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=8))
def test_it_is_its_own_inverse_in_a_table_of_two(words):
    text = " ".join(words)
    table = WordTable({"gender": GENDER})
    once = table.exchanged(text, 1)
    # A possessive is told by the word after it, and an exchange leaves that a word.
    assert table.exchanged(once, 1) == text


@settings(max_examples=100, deadline=None)
@given(words=st.lists(st.sampled_from(["Jewish", "CHURCH", "mosque,", "theme"]), max_size=8))
def test_moving_on_by_the_rest_of_the_columns_gives_the_text_back(words):
    table, text = WordTable({"faith": FAITH}), " ".join(words)
    assert table.exchanged(table.exchanged(text, 1), 2) == text


def _shown(texts, table, draws) -> list:
    others = Counterfactuals(table, texts=naming_a_group(texts, table))
    sizes = ChunkSizes(0, 0, 0, texts=1)
    chunks = PairChunks(pairs(), counterfactuals=others, sizes=sizes)
    return [chunks.next()[0] for _ in range(draws)]


def test_both_versions_of_each_text_come_and_each_word_equally_often():
    texts = [Document("a", "he ran"), Document("b", "she and he"), Document("c", "no one"),
             Document("d", "He. He")]  # fmt: skip
    rows = _shown(texts, WordTable({"gender": [["he", "she"]]}), 6)
    expected = {"he ran", "she ran", "she and he", "he and she", "He. He", "She. She"}
    assert {r.segment.text for r in rows} == expected
    assert {(r.stream, r.segment.completion_start) for r in rows} == {("texts", 0)}
    assert len({r.id for r in rows}) == 6
    counts = Counter(w.lower() for r in rows for w in re.findall(r"\w+", r.segment.text))
    assert counts["he"] == counts["she"] == 5


def test_of_many_groups_each_comes_as_often_with_each_text():
    table = WordTable({"x": [[f"g{i}" for i in range(5)]]})
    texts = [Document(str(i), f"the g{i} ran {i}") for i in range(4)]
    rows = _shown(texts, table, 20)
    assert len({r.segment.text for r in rows}) == 20
    first = Counter(r.segment.text.split()[1] for r in rows[:4])
    assert len(first) > 1, "an epoch is not of one group"


def test_targets_of_a_category_stand_for_one_another():
    table = word_table("targets", pairs())
    assert table.domains == {c: [sorted(t)] for c, t in TARGETS.items()}
    assert len(table.counterfactuals("The nurse is shy")) == 3


def test_pairs_give_their_stereotypes_as_texts():
    texts = (*documents(), *stereotypes(pairs()))
    found = naming_a_group(texts, word_table("targets", pairs()))
    assert [d.text for d in found] == [p.stereotype for p in pairs()], "documents name no target"


def test_contexts_leave_the_completions_alone():
    others = Counterfactuals(WordTable({"x": [["nurse", "pilot", "velk", "tarn"]]}), 2)
    kept, against = Segment("A nurse met a nurse", 8), Segment("A nurse fled", 8)
    found = others.contexts(kept, against)
    assert [[s.text for s in both] for both in found] == [
        ["A nurse met a nurse", "A nurse fled"],
        ["A pilot met a nurse", "A pilot fled"],
        ["A tarn met a nurse", "A tarn fled"],
    ]
    assert {both[0].text[both[0].completion_start :] for both in found} == {"met a nurse"}
    assert others.contexts(Segment("A man met", 6), Segment("A man fled", 6)) == ()


def test_a_file_of_words(tmp_path):
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"gender": GENDER}), encoding="utf-8")
    assert word_table(str(path), ()).domains == {"gender": GENDER}


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        ({"g": [["he", "she"], ["him", "her", "them"]]}, r"row 2 of g .* has 3 words .* first 2;"),
        ({"g": [["he"]]}, r"row 1 of g in the word table has 1 words .*two or more"),
        (
            {"g": [["him", "her"], ["his", "Her"]]},
            r"'Her' stands in row 1 of g and row 2 .*'Her _'",
        ),
        ({"g": [["he", " "]]}, r"row 1 of g in the word table has no word"),
        ({}, r"the word table is empty"),
    ],
)
def test_tables_that_are_refused(domains, message):
    with pytest.raises(DataError, match=message):
        WordTable(domains)


def test_what_else_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no text of the train split names a word"):
        naming_a_group(documents(), TABLE)
    with pytest.raises(ConfigError, match=r"no configuration file .*words.json"):
        word_table(str(tmp_path / "words.json"), ())
    path = tmp_path / "flat.json"
    path.write_text('{"g": ["he", "she"]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"flat.json: g is no list of rows of words, such as"):
        word_table(str(path), ())
    with pytest.raises(DataError, match=r"the texts stream is empty"):
        PairChunks(pairs(), sizes=ChunkSizes(texts=4))
