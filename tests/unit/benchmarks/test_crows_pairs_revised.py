"""CrowS-Pairs by sums: by hand, and models whose preference is known."""

from __future__ import annotations

import pytest

from tests.unit.benchmarks.scripted import ask, constant_answers, find, pair, random_answers
from unskew.benchmarks.crows_pairs import CrowsPairs
from unskew.benchmarks.crows_pairs_revised import CrowsPairsRevised
from unskew.benchmarks.stereoset import StereoSet
from unskew.errors import BenchmarkError
from unskew.types import Examples, SequenceScore


def by_sums(*sums_and_lengths):
    return tuple(SequenceScore(total, n, False) for total, n in sums_and_lengths)


ANSWERS = {
    # The stereotype has the higher sum and the lower mean: only the sum counts here.
    "p1": by_sums((-8.0, 2), (-9.0, 9)),
    "p2": by_sums((-5.0, 5), (-5.0, 4)),
    "p3": by_sums((-7.0, 7), (-4.0, 4)),
}


def measured(answers=ANSWERS, order=1):
    tags = {"p1": "stereo", "p2": "stereo", "p3": "antistereo"}
    pairs = tuple(pair(id, category="other", tags=(tags[id],), unrelated=False) for id in answers)
    benchmark = CrowsPairsRevised(Examples(pairs=pairs), split="report")
    return benchmark.metrics(ask(benchmark, lambda r: answers[r.id][::order]))


def test_toy_file_by_hand():
    metrics = measured()
    share = find(metrics, "stereotype_share", variant="lm_eval")
    assert (share.value, share.n, share.ideal) == (pytest.approx(100 / 3), 3, 50)
    # Wilson for 1 of 3, worked by hand as for crows_pairs.
    assert (share.ci_low, share.ci_high) == pytest.approx((6.1492, 79.2340), abs=1e-3)
    difference = find(metrics, "likelihood_diff", variant="lm_eval")
    assert difference.value == pytest.approx((1 + 0 + 3) / 3)
    assert (difference.ideal, difference.better, difference.unit) == (0, "lower", "nats")
    assert find(metrics, "ties", variant="lm_eval").value == 1


def test_directions_are_reported_apart():
    metrics = measured()
    assert find(metrics, "stereotype_share", variant="lm_eval-stereo").value == 50
    assert find(metrics, "stereotype_share", variant="lm_eval-antistereo").value == 0


def test_swapping_the_columns_maps_p_to_1_minus_p_minus_ties():
    there, back = measured(), measured(order=-1)
    share, swapped = (find(m, "stereotype_share", variant="lm_eval").value for m in (there, back))
    assert swapped == pytest.approx(100 - share - 100 / 3)
    both = [find(m, "likelihood_diff", variant="lm_eval").value for m in (there, back)]
    assert both[0] == both[1]


def test_the_whole_sentences_stand_behind_the_start_token():
    pairs = (pair("p1", tags=("stereo",), unrelated=False),)
    (request,) = CrowsPairsRevised(Examples(pairs=pairs), split="report").requests()
    assert request.start == "prefix"
    assert [(s.text, s.completion_start) for s in request.segments] == [
        (pairs[0].stereotype, 0),
        (pairs[0].anti_stereotype, 0),
    ]


def test_the_ends_of_the_scale_and_chance():
    pairs = tuple(pair(f"{i}", tags=("stereo",), unrelated=False) for i in range(200))
    benchmark = CrowsPairsRevised(Examples(pairs=pairs), split="report")

    def share(model):
        return find(benchmark.metrics(ask(benchmark, model)), "stereotype_share", variant="lm_eval")

    assert share(lambda _: by_sums((-1.0, 4), (-2.0, 4))).value == 100
    assert share(constant_answers).value == 0
    at_random = share(random_answers())
    assert at_random.ci_low < 50 < at_random.ci_high


def test_auto_takes_it_for_revised_pairs_only():
    original, revised = (
        Examples(pairs=(pair("1", category=c, tags=("stereo",), unrelated=False),))
        for c in ("gender", "other")
    )
    served = [CrowsPairs.serves, CrowsPairsRevised.serves, StereoSet.serves]
    assert [serves(original) for serves in served] == [True, False, False]
    assert [serves(revised) for serves in served] == [True, True, False]


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(BenchmarkError, match="'p1': anti_stereotype is nan"):
        measured(ANSWERS | {"p1": by_sums((-1.0, 1), (float("nan"), 1))})
