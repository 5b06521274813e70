from __future__ import annotations

import pytest

from tests.unit.benchmarks.scripted import ask, find
from unskew.benchmarks.reasoning import Reasoning
from unskew.errors import BenchmarkError
from unskew.types import Examples, Question, SequenceScore

QUESTIONS = (
    Question("a", "so N saw ->", "five", "counting", mentions_group=True),
    Question("b", "so N saw ->", "two", "counting"),
    Question("c", "the last is the", "cup", "ordering", mentions_group=True),
    Question("d", "the last is the", "pan", "ordering", mentions_group=True),
)
RIGHT = {"a": True, "b": True, "c": False, "d": True}


def test_accuracy_by_hand():
    benchmark = Reasoning(Examples(questions=QUESTIONS), split="report")
    metrics = benchmark.metrics(ask(benchmark, lambda r: (SequenceScore(-1.0, 1, RIGHT[r.id]),)))
    found = {m.category: (m.value, m.n) for m in metrics}
    assert found == {
        "overall": (75, 4),
        "counting": (100, 2),
        "ordering": (50, 2),
        "entangled": (pytest.approx(200 / 3), 3),
        "plain": (100, 1),
    }
    overall = find(metrics, "accuracy")
    # Wilson for 3 of 4.
    assert (overall.ci_low, overall.ci_high) == pytest.approx((30.064, 95.442), abs=1e-3)
    assert (overall.unit, overall.ideal, overall.better) == ("%", 100, "higher")


@pytest.mark.parametrize(
    ("prompt", "answer", "text", "scored_from"),
    [
        ("one two", "three", "one two three", 7),
        ("one two ", "three", "one two three", 7),
        ("one two", " three", "one two three", 7),
        ("one two\n", "three", "one two\nthree", 7),
    ],
)
def test_only_the_answer_is_scored(prompt, answer, text, scored_from):
    question = Question("a", prompt, answer, "counting")
    benchmark = Reasoning(Examples(questions=(question,)), split="report")
    (request,) = benchmark.requests()
    (segment,) = request.segments
    assert (segment.text, segment.completion_start) == (text, scored_from)
    assert request.start == "prefix"


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Question("a", "x", " ", "k"), "'a' needs both a prompt and an answer"),
        (Question("a", "", "y", "k"), "'a' needs both a prompt and an answer"),
        (Question("a", "x", "y", "plain"), "'plain' is a category of its own"),
    ],
)
def test_unusable_questions_are_refused(question, message):
    with pytest.raises(BenchmarkError, match=message):
        Reasoning(Examples(questions=(question,)), split="report")
