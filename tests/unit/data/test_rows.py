"""Rows for saliency: balanced, the same for the same seed, and refused where there are none."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.fixtures import documents, pairs
from unskew.data.rows import balanced_pairs, chosen_rows
from unskew.errors import ConfigError, DataError
from unskew.types import Examples, Question, Segment

EXAMPLES = Examples(
    pairs=tuple(pairs()),
    documents=tuple(documents()),
    questions=(Question("q1", "Two and two are ", "four", "counting"),),
)


def test_categories_are_taken_in_turn_and_the_rest_of_the_larger_follows():
    some = [p for p in pairs() if p.category == "gender" or p.target == "tarn"]
    chosen = balanced_pairs(some, 6, seed=0)
    assert Counter(p.category for p in chosen) == {"gender": 4, "race": 2}
    assert Counter(p.category for p in chosen[:4]) == {"gender": 2, "race": 2}


def test_the_choice_depends_on_ids_and_seed_alone():
    chosen = [p.id for p in balanced_pairs(pairs(), 8, seed=0)]
    assert [p.id for p in balanced_pairs(pairs()[::-1], 8, seed=0)] == chosen
    assert [p.id for p in balanced_pairs(pairs(), 8, seed=1)] != chosen


def test_each_source_gives_its_own_text_and_scored_part():
    wanted = {"stereotype": 2, "unrelated": 2, "documents": 9, "questions": 1}
    rows = chosen_rows(EXAMPLES, wanted, 0, "s")
    stereotypes = {p.stereotype: p.completion_start for p in pairs()}
    assert all(stereotypes[r.text] == r.completion_start for r in rows[:2])
    assert {r.text for r in rows[2:4]} <= {p.unrelated for p in pairs()}
    assert all(r.completion_start == 0 for r in rows[2:6])
    assert {r.text for r in rows[4:6]} == {d.text for d in documents()}
    assert rows[6:] == [Segment("Two and two are four", len("Two and two are"))]
    assert chosen_rows(EXAMPLES, {"documents": 0, "questions": 5}, 0, "s") == rows[6:]


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({"documents": -1}, ConfigError, r"s\.documents is -1"),
        ({}, ConfigError, "s asks for no row"),
        ({"documents": 0}, ConfigError, "s asks for no row"),
    ],
)
def test_counts_that_ask_for_nothing_are_refused(wanted, error, message):
    with pytest.raises(error, match=message):
        chosen_rows(EXAMPLES, wanted, 0, "s")


def test_a_source_that_the_data_lack_is_named():
    with pytest.raises(DataError, match=r"s\.questions: the train split has none"):
        chosen_rows(Examples(pairs=tuple(pairs())), {"questions": 3}, 0, "s")
