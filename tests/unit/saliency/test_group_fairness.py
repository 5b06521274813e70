"""Groups whose answers are known: the same, independent, disjoint; a mask that all of them pick."""

from __future__ import annotations

import itertools

import pytest
import torch
from scipy.stats import hypergeom, spearmanr

from unskew.errors import ConfigError
from unskew.saliency._overlap import Overlap
from unskew.saliency.group_fairness import (
    GroupSaliency,
    balanced_masks,
    coverage,
    entanglement,
    group_overlaps,
    noise_ceiling,
    overlap_z,
    rank_correlations,
)

SHAPES = {"h.0.w": (60, 50), "h.1.w": (2000,), "h.2.w": (30, 100)}
WEIGHTS = 8000


def random_scores(seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) for name, shape in SHAPES.items()}


def group(seed, *resamples, rows=100):
    return GroupSaliency(random_scores(seed), rows, tuple(random_scores(s) for s in resamples))


def planted(begin, end):
    """Saliency on some hundredths of each tensor, 0 elsewhere."""
    scores = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    for s in scores.values():
        flat = s.view(-1)
        span = slice(len(flat) * begin // 100, len(flat) * end // 100)
        flat[span] = torch.linspace(1, 2, span.stop - span.start)
    return scores


def test_the_same_saliency_is_the_same_mask():
    (found,) = group_overlaps({"a": group(0), "b": group(0)}, 0.1)
    assert found.overlap.jaccard == 1.0
    assert found.z > 50
    assert found.spearman_by_tensor == pytest.approx(dict.fromkeys(SHAPES, 1.0))


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_independent_saliencies_overlap_as_by_chance(fraction):
    names = "abcde"
    found = group_overlaps({n: group(i) for i, n in enumerate(names)}, fraction)
    assert [(f.first, f.second) for f in found] == list(itertools.combinations(names, 2))
    expected = fraction / (2 - fraction)
    assert expected == pytest.approx({0.1: 0.0526, 0.5: 0.3333}[fraction], abs=1e-4)
    # The overlap's s.d. over N; with c in common J = c / (2k - c), so dJ/dc = 2k / (2k - c)^2.
    k, common = fraction * WEIGHTS, fraction**2 * WEIGHTS
    error = (fraction * (1 - fraction)) * WEIGHTS**0.5 * 2 * k / (2 * k - common) ** 2
    for pair in found:
        assert pair.overlap.by_chance == pytest.approx(expected)
        assert abs(pair.overlap.jaccard - expected) < 3 * error
        assert abs(pair.z) < 3
        assert all(abs(r) < 0.1 for r in pair.spearman_by_tensor.values())


def test_disjoint_supports_do_not_overlap():
    groups = {
        "a": GroupSaliency(planted(0, 10), 100),
        "b": GroupSaliency(planted(50, 60), 100),
    }
    (found,) = group_overlaps(groups, 0.1)
    assert found.overlap.jaccard == 0.0
    assert found.z < -3


def test_z_is_the_hypergeometric_deviate():
    """Of one tensor against scipy; of two the surplus adds and so do the variances."""
    parts = [Overlap(7, 0, 20, 30, 100), Overlap(3, 0, 10, 10, 50)]
    laws = [hypergeom(p.num_weights, p.num_first, p.num_second) for p in parts]
    assert overlap_z(parts[:1]) == pytest.approx((7 - laws[0].mean()) / laws[0].std())
    surplus = sum(p.num_common - law.mean() for p, law in zip(parts, laws, strict=True))
    assert overlap_z(parts) == pytest.approx(surplus / sum(law.var() for law in laws) ** 0.5)
    assert overlap_z([Overlap(5, 5, 5, 5, 5), Overlap(1, 1, 1, 1, 1)]) == 0.0


def test_rank_correlation_by_hand():
    """Ranks 1 2.5 2.5 4 and 4 2 3 1: covariance -4.5, variances 4.5 and 5."""
    first = {"w": torch.tensor([0.0, 1.0, 1.0, 5.0]), "c": torch.ones(3)}
    second = {"w": torch.tensor([9.0, 2.0, 3.0, 1.0]), "c": torch.arange(3.0)}
    found = rank_correlations({"a": first, "b": second})
    assert found == {("a", "b"): {"w": pytest.approx(-4.5 / (4.5 * 5) ** 0.5)}}


def test_rank_correlations_are_scipys():
    groups = {name: random_scores(seed) for seed, name in enumerate("abc")}
    groups["c"]["h.0.w"] = (4 * groups["a"]["h.0.w"]).round() + groups["c"]["h.0.w"]
    for (first, second), by_tensor in rank_correlations(groups).items():
        for name, value in by_tensor.items():
            a, b = groups[first][name].flatten(), groups[second][name].flatten()
            assert value == pytest.approx(spearmanr(a, b).statistic)


def test_the_ceiling_is_what_draws_of_one_group_reach():
    assert noise_ceiling(group(0), 0.1) is None
    assert noise_ceiling(group(0, 0, 0), 0.1) == 1.0
    # Three draws, two of them the same: (1 + c + c) / 3.
    chance = noise_ceiling(group(0, 1), 0.1)
    assert noise_ceiling(group(0, 0, 1), 0.1) == pytest.approx((1 + 2 * chance) / 3)
    steady, noisy = group(0, 0), group(2, 3)
    (found,) = group_overlaps({"a": steady, "b": noisy}, 0.1)
    assert found.ceiling == pytest.approx(noise_ceiling(noisy, 0.1) ** 0.5)
    assert found.share_of_ceiling == pytest.approx(found.overlap.jaccard / found.ceiling)
    (without,) = group_overlaps({"a": group(0), "b": noisy}, 0.1)
    assert without.ceiling is None and without.share_of_ceiling is None


def test_coverage_by_hand_and_of_known_distributions():
    scores = {"w": torch.tensor([1.0, 3.0, 4.0]), "v": torch.tensor([2.0])}
    masks = {"w": torch.tensor([True, True, False]), "v": torch.tensor([False])}
    assert coverage(scores, masks) == pytest.approx(0.4)
    masks = balanced_masks({"a": random_scores(0), "b": random_scores(0)}, 0.1).masks
    # The upper tenth of a uniform saliency holds .1 x .95 of its .5; s.e. .001 with 800 weights.
    assert coverage(random_scores(0), masks) == pytest.approx(0.19, abs=0.005)
    assert coverage(random_scores(1), masks) == pytest.approx(0.10, abs=0.02)
    with pytest.raises(ConfigError, match="saliency is 0 for every weight; nothing can be covered"):
        coverage({"w": torch.zeros(3)}, {"w": torch.ones(3, dtype=torch.bool)})


def test_entanglement_by_hand():
    masks = {"w": torch.tensor([True, True, False, False]), "v": torch.tensor([True, False])}
    reason = {"w": torch.tensor([9.0, 0.0, 8.0, 0.0]), "v": torch.tensor([1.0, 0.0])}
    # Tops of half: {0, 2} and {0}; of the mask's three weights 0 of w and 0 of v are among them.
    assert entanglement(masks, reason, 0.5) == pytest.approx(2 / 3)
    with pytest.raises(ConfigError, match="the group's mask is empty"):
        entanglement({n: torch.zeros_like(m) for n, m in masks.items()}, reason, 0.5)


def test_every_group_picks_in_turn():
    """Rounds by hand: a 0, b 3; then a 1, b again 1: shared; then one place is left, and of a's 2
    (1/10 of its saliency) and b's 4 (2/19) the latter is taken."""
    groups = {
        "a": {"w": torch.tensor([4.0, 3.0, 1.0, 1.5, 0.0, 0.5])},
        "b": {"w": torch.tensor([0.0, 6.0, 1.0, 8.0, 2.0, 2.0])},
    }
    found = balanced_masks(groups, 4 / 6)
    assert found.masks["w"].int().tolist() == [1, 1, 0, 1, 1, 0]
    assert found.quotas == {"a": 2, "b": 3}


def test_quotas_are_even_and_the_number_exact():
    groups = {name: random_scores(seed) for seed, name in enumerate("abc")}
    for name, shape in SHAPES.items():
        alone = {g: {name: s[name]} for g, s in groups.items()}
        found = balanced_masks(alone, 0.1)
        assert max(found.quotas.values()) - min(found.quotas.values()) <= 1
        assert int(found.masks[name].sum()) == torch.Size(shape).numel() // 10
    # A group of small scores is not outvoted, as it is where saliencies are added.
    weak = {"a": planted(0, 20), "b": {n: 1e-3 * s for n, s in planted(50, 70).items()}}
    mask = balanced_masks(weak, 0.1).masks["h.1.w"]
    assert int(mask[:1000].sum()) == int(mask[1000:].sum()) == 100


def test_names_and_order_of_groups_change_nothing():
    scores = [random_scores(seed) for seed in range(3)]
    masks = [
        balanced_masks(dict(zip("zmb", order, strict=True)), 0.1001).masks
        for order in itertools.permutations(scores)
    ]
    for other in masks[1:]:
        assert all(torch.equal(masks[0][n], other[n]) for n in SHAPES)
    groups = {"a": group(0, 5), "b": group(1, 6), "c": group(2, 7)}
    renamed = {"x": groups["c"], "y": groups["a"], "z": groups["b"]}
    found, again = group_overlaps(groups, 0.1), group_overlaps(renamed, 0.1)
    assert sorted(f.overlap.jaccard for f in found) == sorted(f.overlap.jaccard for f in again)
    assert sorted(f.z for f in found) == pytest.approx(sorted(f.z for f in again))


def test_one_group_alone_gets_its_top():
    scores = random_scores(0)
    mask = balanced_masks({"a": scores}, 0.1).masks["h.1.w"]
    assert scores["h.1.w"][mask].min() > scores["h.1.w"][~mask].max()


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": group(0)}, "1 groups are given; a comparison needs two at least"),
        ({"a": group(0), "b": group(1, rows=99)}, "group 'b' has 99 rows; give at least 100"),
        ({"a": group(0), "b": group(1, rows=101)}, "group 'b' has 101 rows and 'a' 100; draw as"),
        (
            {"a": group(0), "b": GroupSaliency({"h.0.w": torch.rand(3)}, 100)},
            "saliency of group 'b' is of other weights than that of 'a'; make all with one scope",
        ),
    ],
)
def test_refusals(groups, message):
    with pytest.raises(ConfigError, match=message):
        group_overlaps(groups, 0.1)


def test_a_fraction_out_of_range_is_refused():
    with pytest.raises(ConfigError, match=r"fraction is 0.0; it must be above 0 and at most 1"):
        balanced_masks({"a": random_scores(0)}, 0.0)
