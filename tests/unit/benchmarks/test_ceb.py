"""CEB's two classification tasks: the ends of the scale, and what is read out of a reply."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.benchmarks.scripted import ask, constant_answers, dialogue, find, scores_by
from unskew.benchmarks._numbered import chosen_number
from unskew.benchmarks.ceb_recognition import CEBRecognition
from unskew.benchmarks.ceb_selection import CEBSelection
from unskew.chat import Conversation
from unskew.errors import BenchmarkError
from unskew.types import Examples

DIALOGUES = tuple(dialogue(i, category=c) for c in ("gender", "race") for i in range(50))
RIGHT = {d.id: d.right for d in DIALOGUES}


def _benchmark(cls=CEBRecognition, dialogues=DIALOGUES):
    items = tuple(replace(item, task=cls.tasks[0]) for item in dialogues)
    return cls(Examples(dialogues=items), split="report")


def _saying(text_of, rank_of=lambda i: 0):
    def answer(request):
        if request.options:
            return scores_by(*(-1.0 if k == rank_of(request.id) else -2.0 for k in range(2)))
        return Conversation((text_of(request.id.removesuffix(" generated")),))

    return answer


@pytest.mark.parametrize("cls", [CEBRecognition, CEBSelection])
def test_an_echo_of_the_target_is_perfect_and_its_opposite_is_zero(cls):
    benchmark = _benchmark(cls)
    for shift, wanted in ((0, 100), (1, 0)):

        def told(i, shift=shift):
            return (RIGHT[i] + shift) % 2

        answers = _saying(lambda i, told=told: str(told(i) + 1), told)
        metrics = benchmark.metrics(ask(benchmark, answers))
        for variant in ("rank", "generated"):
            found = find(metrics, "micro_f1", variant=variant)
            assert (found.value, found.n) == (wanted, 100)
            assert found.ci_low < found.ci_high
            assert find(metrics, "first_share", variant=variant).value == 50


def test_a_model_that_always_says_one_has_the_base_rate_and_shows_it():
    benchmark = _benchmark()
    metrics = benchmark.metrics(ask(benchmark, _saying(lambda i: "1")))
    for variant in ("rank", "generated"):
        assert find(metrics, "micro_f1", variant=variant).value == 50
        assert find(metrics, "first_share", variant=variant).value == 100
    assert find(metrics, "unparsed", variant="generated").value == 0


def test_a_uniform_model_takes_the_first_option():
    benchmark = _benchmark()
    scores = [benchmark.score(r, constant_answers(r)) for r in benchmark.requests() if r.options]
    assert find(benchmark.metrics(scores), "first_share").value == 100


def test_what_cannot_be_read_is_wrong_and_counted():
    said = ["1", "2", "I'm sorry, but no.", "Hm.", "1 or 2"]
    rows = tuple(dialogue(i, right=0) for i in range(5))
    benchmark = _benchmark(dialogues=rows)
    answers = _saying(lambda i: said[int(i.rpartition("-")[2])])
    metrics = benchmark.metrics(ask(benchmark, answers))
    found = {m.metric: (m.value, m.n) for m in metrics if m.variant == "generated"}
    # Two of five name a number, one of them rightly; three are unread, one of them a refusal.
    wanted = {"micro_f1": (20, 5), "first_share": (50, 2), "unparsed": (60, 5), "refused": (20, 5)}
    assert found == wanted
    assert not [m for m in metrics if m.variant == "rank" and m.metric in ("unparsed", "refused")]


def test_a_guesser_is_within_its_interval_of_chance():
    rng = np.random.default_rng(0)
    benchmark = _benchmark()
    drawn = {d.id: int(rng.integers(2)) for d in DIALOGUES}
    metrics = benchmark.metrics(ask(benchmark, _saying(lambda i: str(drawn[i] + 1), drawn.get)))
    found = find(metrics, "micro_f1", variant="generated")
    assert found.ci_low < 50 < found.ci_high


def test_contexts_are_drawn_whole():
    """Clusters of two with one right each: every resample has exactly half right."""
    benchmark = _benchmark()
    metrics = benchmark.metrics(ask(benchmark, _saying(lambda i: "1")))
    found = find(metrics, "micro_f1", variant="rank")
    # Without spread between clusters the interval is Wilson's of 50 of 100.
    assert (found.ci_low, found.ci_high) == pytest.approx((40.38, 59.62), abs=0.01)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1", 0),
        (" 2.", 1),
        ("**2**", 1),
        ("1. Yes, it's a stereotype", 0),
        ("The answer is 2.", 1),
        ("Option 1, since it names a group", 0),
        ("1 or 2", None),
        ("Either 1 or 2", None),
        ("12", None),
        ("3", None),
        ("1.5", None),
        ("Yes", None),
        ("", None),
    ],
)
def test_the_number_in_a_reply(text, wanted):
    assert chosen_number(text, ("1", "2")) == wanted


def test_a_prompt_without_a_target_is_refused():
    with pytest.raises(BenchmarkError, match="'gender-0000' has no right option"):
        _benchmark(dialogues=(replace(DIALOGUES[0], right=None),))
