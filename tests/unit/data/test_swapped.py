"""Tuples of texts that differ in the group alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.fixtures import TARGETS, pairs
from unskew.data.counterfactual import WordTable, word_table
from unskew.data.swapped import swapped_texts
from unskew.errors import DataError


def made(**options):
    settings = {"contexts": 16, "versions": 3, "seed": 0, **options}
    return swapped_texts(pairs(), word_table("targets", pairs()), **settings)


def test_a_tuple_differs_in_the_group_alone():
    found = made()
    names = [*TARGETS["gender"], *TARGETS["race"]]
    assert len(found.groups) == len(names)
    assert len(found.tuples) == 2 * 16
    for texts in found.tuples:
        rests = {s.text[s.completion_start :] for s in texts.segments}
        assert len(rests) == 1
        said = [next(n for n in names if n in s.text) for s in texts.segments]
        assert len(set(said)) == len(texts.groups) == len(set(texts.groups)) == 3
        without = {s.text.replace(n, "_") for s, n in zip(texts.segments, said, strict=True)}
        assert len(without) == 1


def test_a_label_is_the_group_of_the_text_and_groups_come_alike_often():
    found = made(versions=4)
    table = word_table("targets", pairs())
    for texts in found.tuples:
        for segment, group in zip(texts.segments, texts.groups, strict=True):
            assert table.groups(segment.text[: segment.completion_start]) == {found.groups[group]}
    assert set(Counter(g for t in found.tuples for g in t.groups).values()) == {16}


def test_which_groups_stand_beside_one_goes_round():
    assert len({t.groups for t in made(versions=2).tuples}) > 8


def test_a_context_of_two_groups_is_left_out():
    table = WordTable({"gender": [["nurse", "pilot"]]})
    both = replace(pairs()[0], stereotype="The nurse and pilot is kind")
    both = replace(both, anti_stereotype="The nurse and pilot is strong", completion_start=23)
    with pytest.raises(DataError, match="exactly one group"):
        swapped_texts([both], table, contexts=4, versions=2, seed=0)
