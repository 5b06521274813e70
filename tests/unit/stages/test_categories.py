"""Two draws of rows of every bias type, as many of each."""

from __future__ import annotations

import pytest

from unskew.errors import DataError
from unskew.stages import categories
from unskew.stages.categories import Categories, category_rows
from unskew.types import Pair


def some(**counts):
    return [
        Pair(
            id=f"{category}-{i}",
            category=category,
            target=f"{category} {i}",
            stereotype=f"{category} {i} is bold",
            anti_stereotype=f"{category} {i} is shy",
            unrelated=None,
            completion_start=len(f"{category} {i} is "),
            task="intrasentence",
            sentence_ids=(),
        )
        for category, number in counts.items()
        for i in range(number)
    ]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(categories, "MIN_ROWS", 3)


def test_the_smallest_type_decides_how_many_rows_the_others_have(small):
    draws = category_rows(some(race=20, age=9, creed=5), 6, seed=0, path="x")
    # creed has too few for two draws of three and is left out.
    assert {c: [len(d) for d in both] for c, both in draws.items()} == {
        "age": [4, 4],
        "race": [4, 4],
    }
    for one, other in draws.values():
        assert not {row.text for row in one} & {row.text for row in other}
    assert category_rows(some(race=20, age=9), 6, seed=1, path="x") != draws


def test_too_few_types_are_refused(small):
    with pytest.raises(DataError, match=r"mask.category_rows: .*\(age 5, race 20\); leave it out"):
        category_rows(some(race=20, age=5), 6, seed=0, path="mask.category_rows")


def test_without_rows_nothing_is_compared(tmp_path):
    nothing = Categories(tmp_path, {})
    assert nothing.rows() == {} and nothing.compared(0.1, {}, None) is None
