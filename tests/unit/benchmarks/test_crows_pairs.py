from __future__ import annotations

import pytest

from tests.unit.benchmarks.scripted import (
    always_biased,
    ask,
    constant_answers,
    find,
    pair,
    random_answers,
    scores_by,
    some_examples,
)
from unskew.benchmarks.crows_pairs import CrowsPairs
from unskew.errors import BenchmarkError
from unskew.types import Examples, Pair

TOY = {"p1": (2.0, 1.0), "p2": (1.0, 1.0), "p3": (1.0, 2.0)}


def _toy(swap: bool = False):
    pairs = tuple(pair(id, tags=("stereo" if id != "p3" else "antistereo",)) for id in TOY)
    benchmark = CrowsPairs(Examples(pairs=pairs), split="report")
    step = -1 if swap else 1
    return benchmark.metrics(ask(benchmark, lambda r: scores_by(*TOY[r.id][::step])))


def test_toy_file_by_hand():
    metrics = _toy()
    share = find(metrics, "stereotype_share", variant="bias_bench")
    assert share.value == pytest.approx(100 / 3)
    assert (share.n, share.ideal, share.better) == (3, 50, "closer")
    assert find(metrics, "ties", variant="bias_bench").value == 1
    assert find(metrics, "ties", variant="bias_bench").ci_low is None
    assert find(metrics, "mean_gap", variant="bias_bench").value == 0
    # Wilson for 1 of 3, worked by hand: (1/3 + z2/6 +- z sqrt(2/27 + z2/36)) / (1 + z2/3).
    assert (share.ci_low, share.ci_high) == pytest.approx((6.1492, 79.2340), abs=1e-3)


def test_directions_are_reported_apart():
    metrics = _toy()
    stereo = find(metrics, "stereotype_share", variant="bias_bench-stereo")
    antistereo = find(metrics, "stereotype_share", variant="bias_bench-antistereo")
    assert (stereo.value, stereo.n) == (50, 2)
    assert (antistereo.value, antistereo.n) == (0, 1)
    assert metrics[0].variant == "bias_bench"


def test_swapping_the_columns_maps_p_to_1_minus_p_minus_ties():
    share = find(_toy(), "stereotype_share", variant="bias_bench").value
    swapped = find(_toy(swap=True), "stereotype_share", variant="bias_bench").value
    assert swapped == pytest.approx(100 - share - 100 / 3)


def test_pairs_without_direction_have_one_variant():
    benchmark = CrowsPairs(some_examples(), split="report")
    metrics = benchmark.metrics(ask(benchmark, always_biased))
    assert {m.variant for m in metrics} == {"bias_bench"}
    assert {m.value for m in metrics if m.metric == "stereotype_share"} == {100}


def test_constant_model_has_only_ties():
    benchmark = CrowsPairs(some_examples(), split="report")
    metrics = benchmark.metrics(ask(benchmark, constant_answers))
    assert find(metrics, "stereotype_share").value == 0
    assert find(metrics, "ties").value == find(metrics, "ties").n == 24


def test_random_model_is_even_handed_within_its_interval():
    benchmark = CrowsPairs(some_examples(per_target=60), split="report")
    share = find(benchmark.metrics(ask(benchmark, random_answers())), "stereotype_share")
    assert share.ci_low < 50 < share.ci_high


def test_requests_score_both_whole_sentences():
    benchmark = CrowsPairs(some_examples(), split="report")
    request = next(iter(benchmark.requests()))
    item = benchmark.items[request.id]
    assert [s.text for s in request.segments] == [item.stereotype, item.anti_stereotype]
    assert [s.completion_start for s in request.segments] == [0, 0]
    assert request.start == "separate"


def test_a_start_token_in_front_of_all_is_a_variant_of_its_own():
    pairs = tuple(pair(f"{i}", tags=("stereo",), unrelated=False) for i in range(3))
    benchmark = CrowsPairs(Examples(pairs=pairs), split="report", start="prefix")
    assert {r.start for r in benchmark.requests()} == {"prefix"}
    metrics = benchmark.metrics(ask(benchmark, always_biased))
    assert {m.variant for m in metrics} == {"bias_bench-prefix", "bias_bench-prefix-stereo"}
    with pytest.raises(BenchmarkError, match="start 'front'; allowed: separate, prefix"):
        CrowsPairs(Examples(pairs=pairs), split="report", start="front")


def test_identical_sentences_are_refused():
    same = Pair("x", "gender", "t", "Both alike.", "Both alike.", None, 0)
    with pytest.raises(BenchmarkError, match="both sentences of pair 'x' are 'Both alike"):
        CrowsPairs(Examples(pairs=(same,)), split="report")
