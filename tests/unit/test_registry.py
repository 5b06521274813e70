"""Tables: loading, near misses, extensions."""

from __future__ import annotations

import pytest

from unskew import registry
from unskew.errors import UnknownName
from unskew.registry import Table, nearest

TABLE = Table("colours", {"red": "math:pi", "green": "collections:OrderedDict"})


def test_loads_what_the_entry_names():
    from collections import OrderedDict

    assert TABLE.load("green") is OrderedDict


def test_an_unknown_name_lists_all_and_names_the_nearest():
    with pytest.raises(UnknownName, match=r"unknown colour 'gren'; did you mean 'green'\? \(there"):
        TABLE.load("gren")
    with pytest.raises(UnknownName, match=r"unknown colour 'xyz' \(there are: green, red\)"):
        TABLE.load("xyz")


def test_nearest():
    assert nearest("gendr", ["gender", "race"]) == "; did you mean 'gender'?"
    assert nearest("qqq", ["gender"]) == nearest("gender", []) == ""


class _Entry:
    def __init__(self, name, value):
        self.name, self.value = name, value


def test_extensions_add_names_but_never_replace_one(monkeypatch):
    asked = []

    def entry_points(group):
        asked.append(group)
        return [_Entry("blue", "math:e"), _Entry("red", "math:tau")]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert list(TABLE) == ["blue", "green", "red"]
    assert len(TABLE) == 3
    assert TABLE.load("blue") == pytest.approx(2.718281828)
    assert TABLE["red"] == "math:pi"
    assert set(asked) == {"unskew.colours"}
    assert TABLE.built_in.keys() == {"red", "green"}
