"""Names that stand for several benchmarks."""

from __future__ import annotations

import pytest

from tests.unit.benchmarks.scripted import coreference
from unskew.errors import UnknownName
from unskew.evaluation.suite import GUARDS, benchmark_names
from unskew.types import Document, Examples, Pair

PAIR = Pair(
    id="p",
    category="kind",
    target="t",
    stereotype="A bad one.",
    anti_stereotype="A good one.",
    unrelated="A blue one.",
    completion_start=2,
)
BOTH = Examples(pairs=(PAIR,), documents=(Document("d", "Rain fell on the tin roof."),))
"""For the benchmarks of pairs and of plain text."""


def test_guard_takes_what_the_data_serve_and_auto_holds_all_of_it():
    guards = benchmark_names(BOTH, ["guard"])
    assert set(guards) == {"stereoset", "perplexity", "divergence", "generation"}
    assert set(guards) <= set(benchmark_names(BOTH)) and set(guards) < set(GUARDS)
    asked = Examples(documents=BOTH.documents, coreferences=(coreference(1),))
    assert "winobias" in benchmark_names(asked) and "winobias" not in benchmark_names(
        asked, ["guard"]
    )
    assert "stereoset" not in benchmark_names(Examples(documents=BOTH.documents), ["guard"])


def test_guard_stands_beside_others_and_nothing_twice():
    found = benchmark_names(BOTH, ["crows_pairs", "generation", "guard"])
    assert found[:2] == ["crows_pairs", "generation"]
    assert len(found) == len(set(found)) == 5


def test_a_slip_is_told():
    with pytest.raises(UnknownName):
        benchmark_names(BOTH, ["gaurd"])
