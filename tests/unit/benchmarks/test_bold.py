"""BOLD and what it shares with ROBBIE: by hand, and models that write worse about one group."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tests.unit.benchmarks.scripted import ask, find, names, prompt
from unskew.benchmarks._group_rates import bootstrap_bound, failing_share, gaps_by_chance
from unskew.benchmarks.bold import BOLD
from unskew.errors import BenchmarkError
from unskew.types import Examples, Generation


def measured(rating_of, numbers=range(100), **options):
    """Metrics of continuations rated as `rating_of` says of an item; None writes nothing."""
    prompts = tuple(prompt(i, group=g) for g in ("men", "women") for i in numbers)
    benchmark = BOLD(Examples(prompts=prompts), split="report", prompts_per_group=None, **options)

    def answer(request):
        rating = rating_of(benchmark.items[request.id])
        if rating is None:
            return Generation(" ", (), 1.0)
        return Generation("some text", (1, 2), 1.0, {"toxicity": rating})

    return benchmark.metrics(ask(benchmark, answer))


def number_of(item):
    return int(item.id.rsplit("/", 1)[1])


def test_robbies_bias_score_by_hand():
    assert failing_share([0.4, 0.6, 0.7]) == pytest.approx(2 / 3)
    assert failing_share([0.5, 0.5]) == 0
    assert failing_share([0.4, 0.6, 0.7], background=0.65) == pytest.approx(1 / 3)


def test_the_bound_is_that_of_a_bootstrap():
    """Drawn here 20,000 times; the quantile of a rate of 40 texts lies on a grid of 1/40."""
    rng = np.random.default_rng(0)
    for successes in (0, 3, 17, 40):
        flags = np.arange(40) < successes
        rates = flags[rng.integers(40, size=(20_000, 40))].mean(1)
        for level in (0.025, 0.975):
            bound = bootstrap_bound(np.array([float(successes)]), np.array([40.0]), level)
            assert bound[0] == pytest.approx(np.quantile(rates, level), abs=1 / 40)


def test_rates_means_and_gaps_by_hand():
    """Of 100 men's texts 10 are rated .9 and the others .1, of women's 30."""

    def rating(item):
        return 0.9 if number_of(item) < {"men": 10, "women": 30}[item.category] else 0.1

    metrics = measured(rating)
    for group, rate in (("men", 10), ("women", 30)):
        assert find(metrics, "toxicity_rate", group).value == pytest.approx(rate)
        assert find(metrics, "toxicity_mean", group).value == pytest.approx(0.1 + 0.8 * rate / 100)
    assert find(metrics, "toxicity_rate").value == pytest.approx(20)
    assert find(metrics, "toxicity_gap").value == pytest.approx(20)
    assert find(metrics, "toxicity_mean_gap").value == pytest.approx(0.16)
    assert find(metrics, "toxicity_failing_groups").value == 0
    # Lower bound of women's rate: 21 of 100, above the rate of all, 20.
    assert find(metrics, "toxicity_groups_above").value == 50
    assert {m.variant for m in metrics} == {"gender"}
    assert not [m for m in metrics if m.metric == "toxicity_gap" and m.category != "overall"]
    gap = find(metrics, "toxicity_gap")
    assert (gap.n, gap.ideal, gap.better, gap.unit) == (200, 0, "lower", "points")
    assert gap.ci_low < 20 < gap.ci_high


def test_a_model_that_is_always_toxic_fails_and_one_that_never_is_passes():
    worst = measured(lambda item: 1.0)
    best = measured(lambda item: 0.0)
    for metrics, value in ((worst, 100), (best, 0)):
        assert find(metrics, "toxicity_rate").value == value
        assert find(metrics, "toxicity_failing_groups").value == value
        assert find(metrics, "toxicity_gap").value == 0
    one_sided = measured(lambda item: float(item.category == "women"))
    assert find(one_sided, "toxicity_gap").value == 100
    assert find(one_sided, "toxicity_gap_by_chance").ci_high < 30
    assert find(one_sided, "toxicity_failing_groups").value == 50
    assert find(one_sided, "toxicity_groups_above").value == 50


def test_a_model_that_treats_groups_alike_has_a_gap_within_its_interval_of_zero():
    rng = np.random.default_rng(1)
    metrics = measured(lambda item: float(rng.random() < 0.2))
    gap = find(metrics, "toxicity_gap")
    assert gap.ci_low == 0
    chance = find(metrics, "toxicity_gap_by_chance")
    assert chance.ci_low <= gap.value <= chance.ci_high
    # |difference| of two rates of .2 of 100: sqrt(2/pi) * sqrt(2 * .16 / 100) = 4.5 points
    assert chance.value == pytest.approx(4.5, abs=0.6)
    assert find(metrics, "toxicity_groups_above").value == 0


def test_the_gap_by_chance_is_that_of_every_deal():
    """Five values dealt to groups of two and three, all 10 ways, by hand."""
    values = np.array([0.1, 0.9, 0.4, 0.3, 0.8])
    every = [
        abs(values[list(c)].mean() - np.delete(values, c).mean()) for c in combinations(range(5), 2)
    ]
    gaps = gaps_by_chance(values, ["a", "b", "b", "a", "b"], 4000, seed=0)
    assert set(np.round(gaps, 9)) == set(np.round(every, 9))
    assert gaps.mean() == pytest.approx(np.mean(every), abs=0.02)


def test_without_a_classifier_there_is_no_metric_of_its_quality():
    metrics = measured(lambda item: 0.3)
    assert {m.split("_")[0] for m in names(metrics)} == {"toxicity", "empty"}
    unrated = BOLD(Examples(prompts=(prompt(1),)), split="report")
    found = unrated.metrics(ask(unrated, lambda r: Generation("text", (1,), 1.0)))
    assert names(found) == {"empty_share"}


def test_empty_texts_are_in_their_share_alone():
    metrics = measured(lambda item: None if number_of(item) % 4 == 0 else 1.0)
    assert find(metrics, "empty_share").value == 25
    rate = find(metrics, "toxicity_rate")
    assert (rate.value, rate.n) == (100, 150)


def test_prompts_about_one_subject_are_drawn_as_one():
    """Twenty alike about each of five people: fewer people, wider interval."""

    def rating(item):
        return float(number_of(item) // 20 % 2)

    few = tuple(prompt(i) for i in range(100))
    alike = BOLD(Examples(prompts=few), split="r", prompts_per_group=None)
    many = measured(rating)
    grouped = [
        type(p)(p.id, p.category, p.domain, f"person-{i // 20}", p.text) for i, p in enumerate(few)
    ]
    together = BOLD(Examples(prompts=tuple(grouped)), split="r", prompts_per_group=None)
    widths = []
    for benchmark in (alike, together):
        metrics = benchmark.metrics(
            ask(
                benchmark,
                lambda r, b=benchmark: Generation(
                    "x", (1,), 1.0, {"toxicity": rating(b.items[r.id])}
                ),
            )
        )
        found = find(metrics, "toxicity_rate")
        widths.append(found.ci_high - found.ci_low)
    assert widths[1] > 2 * widths[0]
    assert find(many, "toxicity_rate", "men").value == 40


def test_prompts_are_continued_as_robbie_does_and_a_fixed_few_of_each_group():
    prompts = tuple(prompt(i, group=g) for g in ("men", "women") for i in range(30))
    benchmark = BOLD(Examples(prompts=prompts), split="r", prompts_per_group=7, max_new_tokens=20)
    requests = list(benchmark.requests())
    assert len(requests) == 14
    assert {(r.temperature, r.top_k, r.max_new_tokens) for r in requests} == {(0.7, 40, 20)}
    again = BOLD(Examples(prompts=prompts[::-1]), split="r", prompts_per_group=7)
    assert {r.id for r in again.requests()} == {r.id for r in requests}
    with pytest.raises(BenchmarkError, match="prompts_per_group 0"):
        BOLD(Examples(prompts=prompts), split="r", prompts_per_group=0)
