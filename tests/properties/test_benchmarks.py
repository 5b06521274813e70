"""Properties of the scores and intervals, whatever the numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.benchmarks.scripted import ask, find, pair, scores_by
from unskew.benchmarks.slot import pair_kl
from unskew.benchmarks.stereoset import StereoSet
from unskew.paired import holm
from unskew.statistics import wilson
from unskew.types import Examples

# Whole numbers make ties likely and sums exact.
cluster = st.tuples(
    st.sampled_from(["gender", "race"]),
    st.integers(0, 3),
    st.tuples(*[st.integers(-3, 3).map(float)] * 3),
    st.booleans(),
)
clusters = st.lists(cluster, min_size=1, max_size=25)


def _scored(rows, order=(0, 1, 2)):
    pairs, answers = [], {}
    for index, (category, target, scores, has_unrelated) in enumerate(rows):
        item = pair(
            f"c{index}", category=category, target=f"{category}{target}", unrelated=has_unrelated
        )
        pairs.append(item)
        answers[item.id] = scores_by(*[scores[i] for i in order][: len(item.texts)])
    benchmark = StereoSet(Examples(pairs=tuple(pairs)), split="report", num_resamples=50)
    return benchmark, ask(benchmark, lambda r: answers[r.id])


def _macro_by_the_definition(rows):
    """SS and LMS, term by term in plain Python."""
    terms = {}
    for category, target, (s, a, u), has_unrelated in rows:
        ss, lms = terms.setdefault((category, target), ([], []))
        ss.append(s > a)
        lms.extend([s > u, a > u] if has_unrelated else [])
    means = [[100 * sum(v[i]) / len(v[i]) for v in terms.values() if v[i]] for i in (0, 1)]
    return [sum(m) / len(m) if m else None for m in means]


@given(clusters)
def test_scores_follow_the_definition(rows):
    benchmark, scores = _scored(rows)
    metrics = benchmark.metrics(scores)
    ss, lms = _macro_by_the_definition(rows)
    assert find(metrics, "ss").value == pytest.approx(ss)
    if lms is None:
        assert not [m for m in metrics if m.metric in ("lms", "icat")]
    else:
        assert find(metrics, "lms").value == pytest.approx(lms)
        assert find(metrics, "icat").value == pytest.approx(lms * min(ss, 100 - ss) / 50)


@given(clusters)
def test_metrics_stay_in_range_and_order_does_not_matter(rows):
    benchmark, scores = _scored(rows)
    metrics = benchmark.metrics(scores)
    assert benchmark.metrics(scores[::-1]) == metrics
    for m in metrics:
        assert 0 < m.n <= len(rows)
        bounds = (m.value, m.ci_low, m.ci_high)
        if m.unit == "%":
            assert all(b is None or -1e-9 <= b <= 100 + 1e-9 for b in bounds)
        if m.ci_low is not None:
            assert m.ci_low < m.ci_high


@given(clusters)
def test_swapped_labels_mirror_ss_where_nothing_ties(rows):
    rows = [row for row in rows if row[2][0] != row[2][1]]
    if not rows:
        return
    benchmark, scores = _scored(rows)
    swapped = benchmark.metrics(_scored(rows, order=(1, 0, 2))[1])
    for m in benchmark.metrics(scores):
        other = find(swapped, m.metric, m.category).value
        if m.metric in ("ss", "ss_micro"):
            assert other == pytest.approx(100 - m.value)
        elif m.metric == "mean_gap":
            assert other == pytest.approx(-m.value)
        else:
            assert other == pytest.approx(m.value)


@given(clusters)
def test_renaming_the_targets_changes_nothing(rows):
    benchmark, scores = _scored(rows)
    # The reversed name keeps targets apart and changes their order.
    renamed = [replace(s, target=s.target[::-1]) for s in scores]
    for one, other in zip(benchmark.metrics(scores), benchmark.metrics(renamed), strict=True):
        assert other.value == pytest.approx(one.value)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_contains_the_share_and_is_symmetric(counts):
    successes, n = counts
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert low < high
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low))


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_order_and_lies_between_raw_and_bonferroni(p_values):
    adjusted = holm(p_values)
    for raw, p in zip(p_values, adjusted, strict=True):
        assert raw <= p <= min(1.0, raw * len(p_values)) + 1e-12
    ranked = np.array(adjusted)[np.argsort(p_values, kind="stable")]
    assert (np.diff(ranked) >= 0).all()


@given(st.floats(-300, 300), st.floats(-300, 300))
def test_pair_kl_is_a_divergence(reference_gap, policy_gap):
    kl = pair_kl(reference_gap, policy_gap)
    assert kl >= -1e-12
    # Exchanging the two words changes nothing.
    assert pair_kl(-reference_gap, -policy_gap) == pytest.approx(kl, abs=1e-12)
