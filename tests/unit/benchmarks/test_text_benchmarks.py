"""Perplexity, divergence and generation: what is measured on plain text."""

from __future__ import annotations

import math

import pytest

from tests.unit.benchmarks.scripted import ask, find, names, random_answers
from unskew.benchmarks.divergence import DivergenceFromReference
from unskew.benchmarks.generation import SampledText, distinct_2, is_repetitive, script_of
from unskew.benchmarks.perplexity import Perplexity
from unskew.errors import BenchmarkError
from unskew.types import (
    Divergence,
    Document,
    Examples,
    Generation,
    SequenceScore,
)

TEXTS = Examples(
    documents=(
        Document("a", "Rain fell on the tin roof.", "neutral"),
        Document("b", "Es schneit, größer.", "neutral"),
        Document("c", "The dough rose slowly all night.", "kitchen"),
    )
)


# --- perplexity ------------------------------------------------------------------------------


def test_uniform_model_has_the_vocabulary_as_perplexity():
    benchmark = Perplexity(TEXTS, split="report")
    tokens = {"a": 7, "b": 9, "c": 8}
    metrics = benchmark.metrics(
        ask(
            benchmark,
            lambda r: (SequenceScore(-tokens[r.id] * math.log(257), tokens[r.id], False),),
        )
    )
    values = [m.value for m in metrics if m.metric == "perplexity"]
    assert values == pytest.approx([257] * 3)
    # 26, 21 (two letters of two bytes each) and 32 bytes.
    num_bytes = 26 + 21 + 32
    bits = find(metrics, "bits_per_byte")
    assert bits.value == pytest.approx(24 * math.log2(257) / num_bytes)
    assert bits.n == 3


def test_perplexity_weighs_documents_by_their_tokens():
    benchmark = Perplexity(TEXTS, split="report")
    scores = {"a": (-8.0, 2), "b": (-2.0, 2), "c": (-6.0, 4)}
    metrics = benchmark.metrics(ask(benchmark, lambda r: (SequenceScore(*scores[r.id], False),)))
    overall, neutral = (find(metrics, "perplexity", c) for c in ("overall", "neutral"))
    assert overall.value == pytest.approx(math.exp(16 / 8))
    assert neutral.value == pytest.approx(math.exp(10 / 4))
    # Resampling three documents with mean nll 4, 1 and 1.5: the extremes of the ratio.
    assert math.exp(1) <= overall.ci_low < overall.value < overall.ci_high <= math.exp(4)
    kitchen = find(metrics, "perplexity", "kitchen")
    assert (kitchen.value, kitchen.n, kitchen.ci_low) == (pytest.approx(math.exp(1.5)), 1, None)


def test_words_are_what_white_space_parts():
    benchmark = Perplexity(TEXTS, split="report", source="kitchen talk")
    metrics = benchmark.metrics(ask(benchmark, lambda _: (SequenceScore(-6.0, 9, False),)))
    words = find(metrics, "word_perplexity")
    # 6, 3 and 6 words.
    assert words.value == pytest.approx(math.exp(18 / 15))
    assert (words.variant, words.n, words.unit) == ("kitchen talk", 3, "ppl")


def test_perplexity_predicts_every_token():
    (request, *_) = Perplexity(TEXTS, split="report").requests()
    assert (request.segments[0].text, request.segments[0].completion_start) == (
        "Rain fell on the tin roof.",
        0,
    )
    assert (request.start, request.window) == ("rolling", 1024)


# --- divergence ------------------------------------------------------------------------------


def test_divergence_is_per_token_and_named_after_the_reference():
    benchmark = DivergenceFromReference(TEXTS, split="report", reference_name="oracle")
    summed = {"a": (0.6, 6), "b": (0.2, 2), "c": (0.4, 16)}
    metrics = benchmark.metrics(
        ask(benchmark, lambda r: Divergence(*summed[r.id], math.nan, (), ()))
    )
    assert {m.variant for m in metrics} == {"oracle"}
    assert find(metrics, "kl_reference_policy").value == pytest.approx(1.2 / 24)
    assert find(metrics, "kl_reference_policy", "neutral").value == pytest.approx(0.1)
    assert find(metrics, "kl_reference_policy").unit == "nats/token"


def test_a_model_does_not_diverge_from_itself():
    benchmark = DivergenceFromReference(TEXTS, split="report")
    metrics = benchmark.metrics(ask(benchmark, lambda _: Divergence(0.0, 5, 0.0, (), ())))
    assert {(m.variant, m.value, m.ci_low) for m in metrics} == {("base", 0.0, None)}


# --- generation ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "distinct", "repetitive"),
    [
        ((), None, False),
        ((1,), None, False),
        ((1, 2, 3, 4), 1.0, False),
        ((1, 1, 1, 1), 1 / 3, False),
        ((1, 1, 1, 1, 1, 1), 1 / 5, False),  # 1111 three times
        ((1, 1, 1, 1, 1, 1, 1), 1 / 6, True),  # 1111 four times
        ((1, 2, 3, 4) * 3, 4 / 11, False),
        ((1, 2, 3, 4) * 4, 4 / 15, True),
        ((1, 2, 1, 3, 1, 2), 4 / 5, False),
    ],
)
def test_collapse_of_one_text_by_hand(tokens, distinct, repetitive):
    assert distinct_2(tokens) == distinct
    assert is_repetitive(tokens) is repetitive


def test_generation_metrics_by_hand():
    answers = {
        "a": Generation(" la la", (7, 7, 7, 7, 7, 7, 7), 0.5),
        "b": Generation(" \n", (), 2.5),
        "c": Generation(" rain again", (1, 2, 3), 3.0),
    }
    benchmark = SampledText(TEXTS, split="report", num_prompt_words=2)
    scores = ask(benchmark, lambda r: answers[r.id])
    metrics = benchmark.metrics(scores)
    values = {m.metric: (m.value, m.n) for m in metrics if m.category == "overall"}
    assert values == {
        "distinct_2": (pytest.approx((1 / 6 + 1) / 2), 2),
        "repetition_rate": (pytest.approx(100 / 3), 3),
        "empty_share": (pytest.approx(100 / 3), 3),
        "refusal_rate": (0.0, 3),
        "script_change_rate": (0.0, 2),
        "mean_entropy": (2.0, 3),
    }
    assert scores[0].values["prompt"] == "Rain fell"
    assert scores[0].values["text"] == " la la"


def test_texts_without_token_pairs_have_no_distinct_2():
    benchmark = SampledText(TEXTS, split="report", num_prompt_words=2)
    metrics = benchmark.metrics(ask(benchmark, lambda _: Generation("", (), 0.0)))
    assert names(metrics) == {"repetition_rate", "empty_share", "refusal_rate", "mean_entropy"}
    assert find(metrics, "empty_share").value == 100


def test_a_model_that_refuses_or_changes_its_script_is_found_out():
    answers = {
        "a": Generation(" I can\u2019t write that.", (1, 2), 1.0),
        "b": Generation(" \u0434\u043e\u0436\u0434\u044c, 3 mm", (1, 2), 1.0),
        "c": Generation(" 12 : 7", (1, 2), 1.0),
    }
    benchmark = SampledText(TEXTS, split="report", num_prompt_words=2)
    metrics = benchmark.metrics(ask(benchmark, lambda r: answers[r.id]))
    assert find(metrics, "refusal_rate").value == pytest.approx(100 / 3)
    changed = find(metrics, "script_change_rate")
    assert (changed.value, changed.n) == (50.0, 2)


@pytest.mark.parametrize(
    ("text", "script"),
    [("größer 42", "LATIN"), ("дождь x", "CYRILLIC"), ("雨が降る", "CJK"), ("12 !", None)],
)
def test_script_is_that_of_most_letters(text, script):
    assert script_of(text) == script


def test_prompts_are_spread_over_the_long_documents():
    documents = tuple(Document(f"d{i}", "word " * (i % 3 + 1) * 3) for i in range(300))
    benchmark = SampledText(
        Examples(documents=documents), split="report", num_prompts=4, max_new_tokens=9
    )
    requests = list(benchmark.requests())
    # 200 documents have more than four words: numbers 1, 2, 4, 5, ...; every fiftieth is taken.
    assert [r.id for r in requests] == ["d1", "d76", "d151", "d226"]
    assert {(r.prompt, r.max_new_tokens) for r in requests} == {("word word word word", 9)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_prompts": 0}, "0 prompts of 4 words with 40 new tokens; each must be at least 1"),
        ({"max_new_tokens": 0}, "0 new tokens"),
        ({"num_prompt_words": 30}, "more than 30 words; lower num_prompt_words"),
    ],
)
def test_unusable_prompts_are_refused(options, message):
    with pytest.raises(BenchmarkError, match=message):
        SampledText(TEXTS, split="report", **options)


@pytest.mark.parametrize("cls", [Perplexity, DivergenceFromReference, SampledText])
def test_empty_documents_are_refused(cls):
    with pytest.raises(BenchmarkError, match="document 'x' is empty"):
        cls(Examples(documents=(Document("x", " \n"),)), split="report")


@pytest.mark.parametrize("cls", [Perplexity, DivergenceFromReference, SampledText])
def test_not_a_number_names_the_item(cls):
    benchmark = cls(
        TEXTS, split="report", **({"num_prompt_words": 2} if cls is SampledText else {})
    )
    broken = {
        Perplexity: (SequenceScore(math.nan, 3, False),),
        DivergenceFromReference: Divergence(math.inf, 3, 0.0, (), ()),
        SampledText: Generation("x", (1,), math.nan),
    }
    with pytest.raises(BenchmarkError, match=r"item 'a': .* is (nan|inf); scores must be finite"):
        ask(benchmark, lambda _: broken[cls])


def test_intervals_narrow_with_more_documents():
    widths = []
    for count in (20, 320):
        documents = tuple(Document(f"d{i:03}", "a b c") for i in range(count))
        benchmark = Perplexity(Examples(documents=documents), split="report")
        found = find(benchmark.metrics(ask(benchmark, random_answers())), "bits_per_byte")
        widths.append(found.ci_high - found.ci_low)
    # Sixteen times the documents, a quarter of the width; the small sample's own width is noisy.
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.4)
