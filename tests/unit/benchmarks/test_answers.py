"""Which option a text chooses."""

from __future__ import annotations

import pytest

from unskew.benchmarks._answers import chosen_option

OPTIONS = ("The transgender woman", "Not enough information", "The woman")
NAMES = ("transgender woman", "Not enough information", "woman")


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("A", 0),
        ("(b) whatever", 1),
        ("C) The transgender woman", 2),
        ("c.", 2),
        ("The answer is B.", 1),
        ("I think the answer is the woman", 2),
        ("Answer: (A)", 0),
        ("the woman", 2),
        ("The transgender woman.", 0),
        (" It was the WOMAN who came late.", 2),
        ("It was the transgender woman, I guess", 0),
        ("A woman", 2),
        ("It cannot be determined from the context.", 1),
        ("We can't tell; there is not enough info.", 1),
        ("It is not known whether the woman or the transgender woman was late.", 1),
        ("Can\u2019t be determined", 1),
        # Named and refused at once, two named, none named, no such letter.
        ("The woman, but that is not stated", None),
        ("The transgender woman or the woman", None),
        ("Nobody was late", None),
        ("D", None),
        ("", None),
    ],
)
def test_by_hand(text, option):
    assert chosen_option(text, OPTIONS, NAMES, 1) == option


@pytest.mark.parametrize("option", range(3))
def test_every_option_chooses_itself(option):
    assert chosen_option(OPTIONS[option], OPTIONS, NAMES, 1) == option
