"""SEAT: by hand, against scipy, and models whose associations are planted."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from tests.unit.benchmarks.scripted import association, find
from unskew.benchmarks._permutation import NUM_DRAWS, deal_again
from unskew.benchmarks.seat import SEAT
from unskew.embeddings import Association, Embedding
from unskew.errors import BenchmarkError
from unskew.types import Examples


def measured(items, vector_of, **options):
    """Metrics of a model that gives each text a vector."""
    benchmark = SEAT(Examples(associations=tuple(items)), split="report", **options)

    def vector(text):
        return np.asarray(vector_of(text), np.float32)

    scores = [
        benchmark.score(
            r,
            Embedding(
                vector(r.text), tuple(np.stack([vector(t) for t in texts]) for texts in r.sets)
            ),
        )
        for r in benchmark.requests()
    ]
    return benchmark.metrics(scores)


def seeded(text):
    return np.random.default_rng(sum(ord(c) * 31**i for i, c in enumerate(text)) % 2**32).normal(
        size=16
    )


def planted(text, strength=3.0):
    """Texts of X and A lean one way, those of Y and B the other."""
    side = 1 if " of X" in text or " of A" in text else -1
    return seeded(text) + strength * side * np.eye(16)[0]


def by_the_definition(item: Association, vector_of):
    """Effect size and every permutation, one cosine after the other."""

    def cosine(u, v):
        return float(np.dot(u, v) / (np.linalg.norm(u) * np.linalg.norm(v)))

    def s(text):
        first, second = (
            np.mean([cosine(vector_of(text), vector_of(a)) for a in texts])
            for texts in item.attributes
        )
        return first - second

    x, y = ([s(t) for t in texts] for texts in item.targets)
    together = x + y
    effect = (np.mean(x) - np.mean(y)) / np.std(together, ddof=1)
    observed = np.mean(x) - np.mean(y)
    as_large = total = 0
    for chosen in combinations(range(len(together)), len(x)):
        first = [together[i] for i in chosen]
        second = [together[i] for i in range(len(together)) if i not in chosen]
        total += 1
        as_large += np.mean(first) - np.mean(second) >= observed - 1e-12
    return effect, as_large / total


def test_a_test_by_hand():
    """In the plane: A points right, B up. s of right, up, and the diagonal are 1, -1 and 0.

    X = right, diagonal: mean .5; Y = up, diagonal: -.5. Of 1, 0, -1, 0 the standard deviation with
    ddof 1 is sqrt(2/3); d = 1 / sqrt(2/3) = 1.2247. Of the six ways to choose two of four, X's
    sum of 1 is reached by the two that join 1 with a 0: p = 1/3.
    """
    item = Association(
        "t", "gender", (("right.", "diagonal."), ("up.", "slant.")), (("A",), ("B",))
    )
    plane = {"right.": (2, 0), "up.": (0, 3), "diagonal.": (1, 1), "slant.": (4, 4)}
    plane |= {"A": (5, 0), "B": (0, 0.1)}
    metrics = measured([item], plane.__getitem__)
    for name in ("effect_size", "abs_effect_size"):
        assert find(metrics, name, "t", "sentences-last").value == pytest.approx(1.5**0.5)
    assert find(metrics, "p_value", "t", "sentences-last").value == pytest.approx(1 / 3)
    assert find(metrics, "effect_size", "t", "sentences-last").n == 4


@pytest.mark.parametrize("sizes", [(4, 4, 3, 3), (3, 5, 2, 6), (1, 4, 1, 1)])
@pytest.mark.parametrize("vector_of", [seeded, planted])
def test_effect_size_and_exact_p_are_those_of_the_definition(sizes, vector_of):
    item = association(1, sizes=sizes)
    metrics = measured([item], vector_of)
    effect, p_value = by_the_definition(item, vector_of)
    assert find(metrics, "effect_size", item.id, "sentences-last").value == pytest.approx(
        effect, abs=1e-5
    )
    found = find(metrics, "p_value", item.id, "sentences-last")
    assert found.value == pytest.approx(p_value)
    assert (found.ci_low, found.ci_high) == (None, None)


def test_the_permutation_test_is_scipys():
    """Exact, and drawn: two draws of 10,000 and 20,000 differ by under four standard errors."""
    rng = np.random.default_rng(1)
    for sizes, shift in (((5, 6), 0.5), ((30, 25), 0.3)):
        first, second = rng.normal(shift, size=sizes[0]), rng.normal(size=sizes[1])
        ours = deal_again(first, second, seed=3)
        theirs = stats.permutation_test(
            (first, second),
            lambda x, y, axis: x.mean(axis) - y.mean(axis),
            alternative="greater",
            n_resamples=20_000,
            vectorized=True,
            rng=np.random.default_rng(4),
        )
        if ours.interval is None:
            assert ours.p_value == pytest.approx(theirs.pvalue)
            assert len(ours.differences) == 462
        else:
            error = (theirs.pvalue * (1 - theirs.pvalue) * (1 / 10_000 + 1 / 20_000)) ** 0.5
            assert ours.p_value == pytest.approx(theirs.pvalue, abs=4 * error)
            assert ours.interval[0] < ours.p_value < ours.interval[1]
            assert len(ours.differences) == NUM_DRAWS
    assert deal_again(first, second, seed=3).p_value == ours.p_value
    assert deal_again(first, second, seed=5).p_value != ours.p_value


def test_a_drawn_p_value_is_never_zero():
    first, second = np.arange(100.0) + 1000, np.arange(100.0)
    assert deal_again(first, second, 0).p_value == 1 / (NUM_DRAWS + 1)


def test_a_planted_association_is_found_and_its_opposite_is_its_mirror():
    item = association(1, sizes=(8, 8, 6, 6))
    metrics = measured([item], planted)
    effect = find(metrics, "effect_size", item.id, "sentences-last")
    assert effect.value > 1.6
    assert effect.ci_low > 1
    assert find(metrics, "p_value", item.id, "sentences-last").value < 1e-3
    assert find(metrics, "significant_tests", variant="sentences-last").value == 100
    turned = replace(item, targets=item.targets[::-1])
    mirrored = measured([turned], planted)
    for name, sign in (("effect_size", -1), ("abs_effect_size", 1)):
        assert find(mirrored, name, item.id, "sentences-last").value == pytest.approx(
            sign * find(metrics, name, item.id, "sentences-last").value
        )
    assert find(mirrored, "p_value", item.id, "sentences-last").value > 0.999


def test_the_same_targets_on_both_sides_have_no_effect():
    """A deal gives 0 or more in half of the cases, and some give 0, so p is above a half."""
    item = association(1, sizes=(5, 5, 3, 3))
    item = replace(item, targets=(item.targets[0], item.targets[0]))
    metrics = measured([item], planted)
    assert find(metrics, "effect_size", item.id, "sentences-last").value == pytest.approx(0)
    assert find(metrics, "p_value", item.id, "sentences-last").value > 0.5


@pytest.mark.parametrize("case", ["attributes alike", "vectors alike"])
def test_where_nothing_differs_but_rounding_the_effect_is_zero(case):
    item = association(1)
    if case == "attributes alike":
        item = replace(item, attributes=(item.attributes[0], item.attributes[0]))
    metrics = measured([item], planted if case == "attributes alike" else lambda text: [0.1] * 300)
    assert find(metrics, "effect_size", item.id, "sentences-last").value == 0
    assert find(metrics, "abs_effect_size", item.id, "sentences-last").value == 0
    assert find(metrics, "p_value", item.id, "sentences-last").value == 1


def test_a_model_without_associations_lies_where_chance_does():
    items = [association(i, sizes=(8, 8, 6, 6)) for i in range(40)]
    metrics = measured(items, seeded)
    found = find(metrics, "abs_effect_size", variant="sentences-last")
    chance = find(metrics, "abs_effect_size_by_chance", variant="sentences-last")
    assert chance.ci_low < found.value < chance.ci_high
    # For 16 normal values E|d| is near sqrt(2/pi) * sqrt(1/8 + 1/8) = .40
    assert chance.value == pytest.approx(0.4, abs=0.02)
    assert find(metrics, "significant_tests", variant="sentences-last").value == 0
    planted_ones = measured(items, planted)
    assert find(planted_ones, "abs_effect_size", variant="sentences-last").value > chance.ci_high


def test_the_summary_is_the_mean_of_absolute_effects_over_tests():
    items = [
        association(1, sizes=(4, 4, 3, 3)),
        association(2, sizes=(6, 5, 3, 3)),
        association(3, category="race"),
    ]
    metrics = measured(items, seeded)
    effects = {i.id: by_the_definition(i, seeded)[0] for i in items}
    gender = [abs(effects[i.id]) for i in items[:2]]
    found = find(metrics, "abs_effect_size", "gender", "sentences-last")
    assert (found.value, found.n) == (pytest.approx(np.mean(gender), abs=1e-5), 19)
    overall = find(metrics, "abs_effect_size", variant="sentences-last")
    assert overall.value == pytest.approx(np.mean(np.abs(list(effects.values()))), abs=1e-5)
    assert overall.ci_low <= overall.value <= overall.ci_high


def test_a_test_does_not_depend_on_the_others():
    items = [association(i, sizes=(12, 13, 3, 3)) for i in (1, 2)]
    alone, both = measured(items[:1], seeded), measured(items, seeded)
    for name in ("effect_size", "p_value", "abs_effect_size_by_chance"):
        one, other = (find(m, name, items[0].id, "sentences-last") for m in (alone, both))
        assert one.value == pytest.approx(other.value, abs=1e-12)


def test_words_and_sentences_are_told_apart():
    bare = Association("w", "gender", (("he",), ("she", "her")), (("work",), ("home",)))
    metrics = measured([bare, association(1)], seeded)
    assert {m.variant for m in metrics} == {
        "words-last", "words-mean", "sentences-last", "sentences-mean",
    }  # fmt: skip
    assert metrics[0].variant == "sentences-last"


def test_an_empty_set_and_a_name_that_is_taken_are_refused():
    item = association(1)
    empty = replace(item, attributes=((), item.attributes[1]))
    with pytest.raises(BenchmarkError, match="a set of 'gender-test1' is empty"):
        SEAT(Examples(associations=(empty,)), split="report")
    with pytest.raises(BenchmarkError, match="'gender' has the name of a category"):
        SEAT(Examples(associations=(replace(item, id="gender"),)), split="report")


def test_stored_scores_of_one_side_are_refused():
    benchmark = SEAT(Examples(associations=(association(1),)), split="report")
    one = Embedding(np.ones(2, np.float32), (np.eye(2, dtype=np.float32),) * 2)
    scores = [benchmark.score(r, one) for r in benchmark.requests()]
    with pytest.raises(BenchmarkError, match="'gender-test1' has scores of X only; it needs both"):
        benchmark.metrics([s for s in scores if s.values["side"] == "X"])
