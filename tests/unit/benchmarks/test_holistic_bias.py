"""HolisticBias: against scipy pair by pair, and models whose likelihoods are planted."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from tests.unit.benchmarks.scripted import ask, descriptor, find
from unskew.benchmarks._likelihood_bias import bias_of, blocks_of, significance
from unskew.benchmarks.holistic_bias import ALL, HolisticBias
from unskew.errors import BenchmarkError
from unskew.types import Examples, SequenceScore

TOKENS = 7


def benchmark_of(items, **options):
    options = {"templates": None, "descriptors_per_axis": None, **options}
    return HolisticBias(Examples(descriptors=tuple(items)), split="report", **options)


def scored(benchmark, nll_of):
    """Scores of a model whose mean negative log-likelihood `nll_of` gives, by descriptor."""

    def answer(request):
        item = benchmark.items[request.id.split("|")[0]]
        return (SequenceScore(-TOKENS * nll_of(item, request.segments[0].text), TOKENS, False),)

    return ask(benchmark, answer)


def measured(items, nll_of, **options):
    benchmark = benchmark_of(items, **options)
    return benchmark.metrics(scored(benchmark, nll_of))


def noise(seed):
    rng = np.random.default_rng(seed)
    return lambda item, text: float(rng.normal(4))


def test_sentences_are_descriptor_noun_and_template():
    item = descriptor(0, nouns=2)
    requests = list(benchmark_of([item]).requests())
    assert [r.segments[0].text for r in requests] == [
        "I love age-word0 persons0.", "I love age-word0 persons1.",
        "I'm a age-word0 person0.", "I'm a age-word0 person1.",
        "See a age-word0 person0?", "See a age-word0 person1?",
    ]  # fmt: skip
    assert {r.start for r in requests} == {"prefix"}
    default = HolisticBias(Examples(descriptors=(item,)), split="report")
    assert len(list(default.requests())) == 4, "of its templates two are asked"


def test_the_bias_is_the_share_of_pairs_that_differ_one_test_after_the_other():
    items = [
        descriptor(i, axis=a, nouns=n) for a, n in (("age", 9), ("body", 20)) for i in range(5)
    ]
    rng = np.random.default_rng(0)
    shift = {item.id: rng.normal() for item in items}
    benchmark = benchmark_of(items)
    scores = scored(benchmark, lambda item, text: float(rng.normal(4 + shift[item.id])))
    metrics = benchmark.metrics(scores)
    found: dict[tuple[str, str], list[bool]] = {}
    for axis in ("age", "body"):
        for template in items[0].templates:
            ppl = {
                item.text: [
                    np.exp(s.values["nll"] / TOKENS)
                    for s in scores
                    if (s.target, s.values["variant"]) == (item.text, template)
                ]
                for item in items
                if item.category == axis
            }
            for one, other in combinations(ppl, 2):
                differs = bool(mannwhitneyu(ppl[one], ppl[other]).pvalue < 0.05)
                found.setdefault((axis, template), []).append(differs)
    for (axis, template), differ in found.items():
        metric = find(metrics, "likelihood_bias", axis, template)
        assert (metric.value, metric.n) == (pytest.approx(np.mean(differ)), 10)
    for axis in ("age", "body"):
        pooled = [d for key, differ in found.items() if key[0] == axis for d in differ]
        metric = find(metrics, "likelihood_bias", axis, ALL)
        assert (metric.value, metric.n) == (pytest.approx(np.mean(pooled)), 30)
    overall = find(metrics, "likelihood_bias", variant=ALL)
    assert (overall.value, overall.n) == (pytest.approx(np.mean(list(chain(*found.values())))), 60)
    assert 0 < overall.value < 1
    assert overall.ci_low < overall.value < overall.ci_high
    assert (overall.ideal, overall.better, overall.unit) == (0, "lower", "fraction")


def test_samples_of_different_sizes_are_compared_each_by_its_own():
    rng = np.random.default_rng(3)
    samples = [rng.normal(i / 2, size=n) for i, n in enumerate((30, 12, 30, 11, 12))]
    found = significance(samples)
    assert found.any()
    for i, j in combinations(range(5), 2):
        assert found[i, j] == found[j, i] == (mannwhitneyu(samples[i], samples[j]).pvalue < 0.05)


def test_words_whose_sentences_never_overlap_are_at_the_end_of_the_scale():
    items = [descriptor(i, nouns=10) for i in range(6)]
    metrics = measured(items, lambda item, text: 10.0 * int(item.text[-1]) + len(text) / 1000)
    bias = find(metrics, "likelihood_bias", variant=ALL)
    assert (bias.value, bias.n) == (1, 45)


def test_words_that_are_alike_are_at_chance():
    """Of 2 x 190 pairs about .05 differ; pairs share words, so the spread is wide."""
    items = [descriptor(i, axis=a, nouns=30) for a in ("age", "body") for i in range(20)]
    bias = find(measured(items, noise(0)), "likelihood_bias", variant=ALL)
    assert bias.value == pytest.approx(0.05, abs=0.03)
    one = measured([descriptor(i) for i in range(4)], lambda item, text: float(len(text)))
    assert find(one, "likelihood_bias", variant=ALL).value == 0, "all words are as long"


def test_the_interval_draws_words_and_holds_what_other_words_give():
    """Half of the words are apart from the rest: the share of mixed pairs varies with the draw."""
    items = [descriptor(i, nouns=12) for i in range(12)]
    rng = np.random.default_rng(0)

    def nll(item, text):
        return float(rng.normal() + 10 * (int(item.text.removeprefix("age-word")) % 2))

    bias = find(measured(items, nll), "likelihood_bias", variant=ALL)
    assert bias.value > 36 / 66 - 0.01
    assert bias.ci_low < 0.5
    assert bias.ci_low < bias.value < bias.ci_high
    again = find(measured(items, noise(1)), "likelihood_bias", variant=ALL)
    assert again.ci_high < bias.ci_low


def test_perplexity_is_over_all_tokens():
    metrics = measured([descriptor(i) for i in range(3)], lambda item, text: 2.0)
    assert find(metrics, "perplexity", variant=ALL).value == pytest.approx(np.exp(2))


def test_runs_are_compared_on_the_same_words():
    items = [descriptor(i, nouns=12) for i in range(8)]
    benchmark = benchmark_of(items)
    runs = {
        "before": scored(benchmark, lambda item, text: 10.0 * int(item.text[-1]) + len(text)),
        "after": scored(benchmark, noise(2)),
    }
    found = benchmark.differences(runs, [("before", "after")], num_resamples=200)
    difference = found[ALL, "overall", "likelihood_bias"]["before", "after"]
    values = [
        find(benchmark.metrics(run), "likelihood_bias", variant=ALL).value for run in runs.values()
    ]
    assert difference.value == pytest.approx(values[1] - values[0])
    assert difference.ci_high < 0
    same = benchmark.differences({"a": runs["after"], "b": runs["after"]}, [("a", "b")])
    assert same[ALL, "overall", "likelihood_bias"]["a", "b"].ci_high == 0


def test_an_axis_with_one_word_has_no_bias():
    items = [descriptor(0), descriptor(1), descriptor(0, axis="body")]
    metrics = measured(items, noise(0))
    with_bias = {m.category for m in metrics if m.metric == "likelihood_bias"}
    assert with_bias == {"overall", "age"}
    assert find(metrics, "perplexity", "body", ALL)
    assert blocks_of({("body", "t"): {"one": np.ones(3)}}) == []
    assert bias_of(blocks_of({("b", "t"): {"one": np.ones(3), "two": np.ones(3)}})) == (0, 1)


def test_fewer_than_two_words_an_axis_are_refused():
    with pytest.raises(BenchmarkError, match="descriptors_per_axis is 1; give at least 2"):
        benchmark_of([descriptor(0)], descriptors_per_axis=1)
    few = benchmark_of([descriptor(i) for i in range(9)], descriptors_per_axis=4)
    assert len(few.items) == 4
