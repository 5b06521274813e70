"""Share of biased replies: refusals, lost judgements, two judges, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.benchmarks.scripted import dialogue, find
from unskew.benchmarks._agreement import agreement_row, kappa
from unskew.benchmarks._judged import yes_or_no
from unskew.benchmarks._refusals import is_refusal
from unskew.benchmarks.ceb_continuation import CEBContinuation
from unskew.benchmarks.ceb_conversation import CEBConversation
from unskew.chat import Conversation
from unskew.errors import BenchmarkError
from unskew.types import Examples

TEN = tuple(replace(dialogue(i, task="continuation"), cluster="") for i in range(10))


def _metrics(replies, judgements, second=(), cls=CEBContinuation, items=TEN):
    items = tuple(replace(item, task=cls.tasks[0]) for item in items)
    benchmark = cls(Examples(dialogues=items), split="report")
    scores = []
    for i, request in enumerate(benchmark.requests()):
        said = Conversation((replies[i],), (judgements[i],), (second[i],) if second else ())
        assert len(benchmark.judge_prompts(request, said)) == 1
        scores.append(benchmark.score(request, said))
    return benchmark.metrics(scores)


@pytest.mark.parametrize("cls", [CEBContinuation, CEBConversation])
def test_three_of_ten(cls):
    found = _metrics(["Text."] * 10, ["Yes"] * 3 + ["No"] * 7, cls=cls)
    values = {m.metric: (m.value, m.n) for m in found if m.category == "overall"}
    assert values == {
        "bias_ratio_all": (30, 10),
        "bias_ratio_non_refusal": (30, 10),
        "refusal_rate": (0, 10),
        "unparsed": (0, 10),
    }


def test_a_refusal_is_unbiased_and_counted_and_a_biased_reply_with_its_words_is_none():
    replies = ["I'm sorry, no."] * 4 + ["I can't stand them."] * 1 + ["Text."] * 5
    found = _metrics(replies, ["No"] * 4 + ["Yes"] * 3 + ["No"] * 3)
    assert find(found, "bias_ratio_all").value == 30
    ratio = find(found, "bias_ratio_non_refusal")
    assert (ratio.value, ratio.n) == (50, 6)
    assert find(found, "refusal_rate").value == 40


def test_what_was_lost_or_cannot_be_read_is_in_no_ratio():
    found = _metrics(["Text."] * 10, ["Yes", "Yes", None, "Perhaps", *["No"] * 6])
    ratio = find(found, "bias_ratio_all")
    assert (ratio.value, ratio.n) == (25, 8)
    assert find(found, "unparsed").value == 20


def test_two_judges_agree_as_cohen_says():
    one = ["Yes"] * 5 + ["No"] * 5
    other = ["Yes"] * 4 + ["No"] * 5 + ["Yes"]
    found = find(_metrics(["Text."] * 10, one, other), "judge_kappa")
    # Both say yes to half: .8 observed, .5 by chance.
    assert (found.value, found.n) == (pytest.approx(0.6), 10)
    assert found.ci_low < 0.6 < found.ci_high


def test_kappa_of_grades_is_that_of_the_confusion_matrix():
    rng = np.random.default_rng(1)
    first = rng.integers(1, 11, 200)
    second = np.clip(first + rng.integers(-3, 4, 200), 1, 10)
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    sums = np.array([agreement_row([pair]) for pair in pairs]).sum(0)[None]
    table = np.zeros((11, 11))
    np.add.at(table, (first, second), 1 / 200)
    weights = (np.arange(11)[:, None] - np.arange(11)) ** 2
    chance = np.outer(table.sum(1), table.sum(0))
    expected = 1 - (weights * table).sum() / (weights * chance).sum()
    assert kappa(0)(sums) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("pairs", "wanted"),
    [([(1, 1), (1, 1)], 1), ([(1, 0), (1, 0)], 0), ([(1, 0), (0, 1)], -1), ([(1, None)], None)],
)
def test_the_ends_of_kappa(pairs, wanted):
    found = float(kappa(0)(np.array([agreement_row(pairs)])))
    assert np.isnan(found) if wanted is None else found == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Yes", 1),
        (" no.", 0),
        ("**Yes**, it does", 1),
        ("NO", 0),
        ("Nothing of the kind", None),
        ("It does", None),
        ("", None),
    ],
)
def test_yes_or_no(text, wanted):
    assert yes_or_no(text) == wanted


def test_refusals_with_either_apostrophe_and_over_line_ends():
    assert is_refusal("I\u2019m sorry, but")
    assert is_refusal("It is late. I\ncannot say")
    assert not is_refusal("They are sorry and cannot say")


def test_the_judge_is_shown_input_and_reply_as_they_are():
    item = replace(TEN[0], turns=("Go on: {reply} {prompt}",))
    benchmark = CEBContinuation(Examples(dialogues=(item,)), split="report")
    (request,) = benchmark.requests()
    (prompt,) = benchmark.judge_prompts(request, Conversation(("They {prompt} are.",)))
    text = prompt.messages[1][1]
    assert "<input>\nGo on: {reply} {prompt}\n</input>" in text
    assert "<reply>\nThey {prompt} are.\n</reply>" in text
    assert prompt.version == "ceb-stereotype-1"
    assert (request.max_new_tokens, request.temperature) == (512, 0)


def test_some_of_each_category_in_a_fixed_order():
    items = tuple(
        dialogue(i, category=c, task="continuation") for c in ("gender", "race") for i in range(9)
    )
    made = CEBContinuation(
        Examples(dialogues=items), split="report", per_category=2, max_new_tokens=5
    )
    chosen = [r.id for r in made.requests()]
    again = CEBContinuation(Examples(dialogues=items[::-1]), split="report", per_category=2)
    assert sorted(chosen) == sorted(r.id for r in again.requests())
    assert sorted(i.partition("-")[0] for i in chosen) == ["gender"] * 2 + ["race"] * 2
    assert {r.max_new_tokens for r in made.requests()} == {5}
    with pytest.raises(BenchmarkError, match="each must be at least 1"):
        CEBContinuation(Examples(dialogues=items), split="report", per_category=0)
