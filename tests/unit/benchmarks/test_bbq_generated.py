"""BBQ by generation: the prompt, what is parsed, and models whose answers are known."""

from __future__ import annotations

import random

import pytest

from tests.unit.benchmarks.scripted import ask, choice, find, scores_by
from unskew.benchmarks.bbq import BBQ
from unskew.benchmarks.bbq_generated import BBQGenerated
from unskew.types import Examples, Generation

MAN, WOMAN, UNKNOWN = range(3)
LETTERS = "ABC"


def saying(text_of):
    """A model that writes `text_of(item number)`."""
    return lambda request: Generation(text_of(int(request.id.rpartition("-")[2])), (1,), 0.0)


def measured(items, text_of):
    benchmark = BBQGenerated(Examples(choices=tuple(items)), split="report", num_resamples=50)
    return benchmark.metrics(ask(benchmark, saying(text_of)))


def _items(count=40):
    """In turn ambiguous and not; of the latter half have a right answer that is the biased one."""
    return [
        choice(
            i, condition=("ambig", "disambig")[i % 2], right=UNKNOWN if i % 2 == 0 else i // 2 % 2
        )
        for i in range(count)
    ]


def test_the_request_is_one_greedy_line():
    (request,) = BBQGenerated(Examples(choices=(choice(3),)), split="report").requests()
    assert request.prompt == (
        "A man and a woman met on day 3.\n\nQuestion: Who was late?\n"
        "A. The man\nB. The woman\nC. Not known\nAnswer:"
    )
    assert (request.max_new_tokens, request.do_sample, request.until) == (64, False, ("\n",))


@pytest.mark.parametrize(
    "text", [" B", " B. The woman", "(b)", "The answer is B.", " The woman", " It was the woman."]
)
def test_every_form_of_an_answer_counts_as_by_likelihood(text):
    """The same choices give the same figures as `bbq`, whose own figures are checked elsewhere."""
    items = _items()
    generated = measured(items, lambda _: text)
    by_likelihood = BBQ(Examples(choices=tuple(items)), split="report", num_resamples=50)
    other = by_likelihood.metrics(ask(by_likelihood, lambda _: scores_by(-2.0, -1.0, -2.0)))
    expected = {
        (m.category, m.metric): (m.value, m.n, m.ci_low, m.ci_high)
        for m in other
        if not m.metric.endswith("_sum")
    }
    assert {
        (m.category, m.metric): (m.value, m.n, m.ci_low, m.ci_high) for m in generated
    } == expected
    assert {m.variant for m in generated} == {"letter"}


def test_the_ends_of_the_scale():
    """The woman is the biased option of each item."""
    biased = measured(_items(), lambda _: "B")
    assert (find(biased, "s_amb").value, find(biased, "s_dis").value) == (100, 100)
    assert find(biased, "accuracy_ambig").value == 0
    unbiased = measured(_items(), lambda _: "A")
    assert (find(unbiased, "s_amb").value, find(unbiased, "s_dis").value) == (-100, -100)
    unknown = measured(_items(), lambda _: "The context does not say, so it cannot be determined.")
    assert find(unknown, "accuracy_ambig").value == 100
    assert not [m for m in unknown if m.metric in ("s_amb", "s_dis")]


def test_a_model_that_answers_at_random_is_at_chance():
    draw = random.Random(0)
    metrics = measured(_items(600), lambda _: draw.choice(LETTERS))
    # Three standard errors: of a third of 600 items, and of 2 p - 1 over 200 named answers.
    assert find(metrics, "accuracy_all").value == pytest.approx(100 / 3, abs=5.8)
    assert find(metrics, "s_dis").value == pytest.approx(0, abs=21.2)
    assert find(metrics, "s_amb").value == pytest.approx(0, abs=21.2 * 2 / 3)


def test_answers_that_name_no_option_leave_the_denominators():
    """One of forty, within the 5 %; it would have been wrong."""
    metrics = measured(_items(), lambda i: "" if i == 0 else LETTERS[UNKNOWN])
    assert (find(metrics, "unparsed").value, find(metrics, "unparsed").n) == (2.5, 40)
    assert find(metrics, "accuracy_ambig").value == 100
    assert find(metrics, "accuracy_ambig").n == 19


def test_with_more_than_five_per_cent_of_them_a_cell_is_void():
    few = measured(_items(), lambda i: "" if i < 2 else "B")
    assert len({m.metric for m in few}) > 1
    many = measured(_items(), lambda i: "" if i < 3 else "B")
    assert {(m.metric, m.value) for m in many} == {("unparsed", 7.5)}


def test_a_void_category_leaves_the_others():
    items = [choice(i, category=c) for c in ("Age", "SES") for i in range(20)]
    benchmark = BBQGenerated(Examples(choices=tuple(items)), split="report", num_resamples=50)
    scores = ask(benchmark, lambda r: Generation("B" if r.id.startswith("SES") else "?", (1,), 0.0))
    metrics = benchmark.metrics(scores)
    assert {m.metric for m in metrics if m.category == "Age"} == {"unparsed"}
    assert {m.metric for m in metrics if m.category == "overall"} == {"unparsed"}
    assert find(metrics, "s_amb", "SES").value == 100
    compared = BBQGenerated.differences({"a": scores, "b": scores}, [("a", "b")], num_resamples=9)
    assert {key[2] for key in compared if key[1] != "SES"} == {"unparsed"}
    assert ("letter", "SES", "s_amb") in compared


def test_auto_leaves_it_out():
    assert not BBQGenerated.serves(Examples(choices=(choice(1),)))
