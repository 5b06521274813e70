"""LEACE against its theorem: nothing linear is left, and no map that does it moves less."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from unskew.edits.leace import Leace
from unskew.errors import ConfigError
from unskew.protocols import Erasure, LabelledStates

WIDTH, GROUPS, TUPLES = 8, 3, 400


def labelled(seed=0, offset=0.0, groups=GROUPS, width=WIDTH, tuples=TUPLES) -> LabelledStates:
    """One state of each group in each tuple: correlated noise, and a shift for the group."""
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=rng, dtype=torch.float64)
    shift = torch.randn(groups, width, generator=rng, dtype=torch.float64)
    noise = torch.randn(tuples * groups, width, generator=rng, dtype=torch.float64) @ mixing
    group = torch.arange(groups).repeat(tuples)
    shared = torch.randn(tuples, width, generator=rng, dtype=torch.float64).repeat_interleave(
        groups, 0
    )
    states = noise + 2 * shared + shift[group] + offset
    return LabelledStates(states, group, torch.arange(tuples).repeat_interleave(groups), groups)


def fitted(seen: LabelledStates, *, pieces: int = 1, **options) -> Erasure:
    leace = Leace(**options)
    for part in seen.tuples.unique().chunk(pieces):
        here = torch.isin(seen.tuples, part)
        leace.update(
            LabelledStates(seen.states[here], seen.groups[here], seen.tuples[here], seen.num_groups)
        )
    return leace.fit()


def matrix(found: Erasure) -> np.ndarray:
    left, right = (t.double().numpy() for t in (found.left, found.right))
    return np.eye(len(left)) - left @ right


def erased(found: Erasure, x: np.ndarray) -> np.ndarray:
    mean = found.mean.double().numpy()
    return mean + (x - mean) @ matrix(found).T


def one_hot(seen: LabelledStates) -> np.ndarray:
    return np.eye(seen.num_groups)[seen.groups.numpy()]


def cross(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)).T @ (z - z.mean(0)) / len(x)


def best_linear_accuracy(x: np.ndarray, seen: LabelledStates) -> float:
    """Of the least-squares classifier on the very states it is fitted to.

    What float32 leaves of an erased direction, 1e-7 of it, is not taken for one.
    """
    design = np.column_stack([x, np.ones(len(x))])
    weights, *_ = np.linalg.lstsq(design, one_hot(seen), rcond=1e-5)
    return float(((design @ weights).round(3).argmax(1) == seen.groups.numpy()).mean())


def test_nothing_linear_is_left_of_the_group():
    seen = labelled()
    x = seen.states.numpy()
    after = erased(fitted(seen, tol=0), x)
    before = np.abs(cross(x, one_hot(seen))).max()
    assert before > 0.1
    assert np.abs(cross(after, one_hot(seen))).max() < 1e-6 * before
    means = [after[seen.groups.numpy() == g].mean(0) for g in range(GROUPS)]
    assert_allclose(means, [means[0]] * GROUPS, atol=1e-5)


def test_the_best_linear_classifier_falls_to_chance():
    seen = labelled()
    x = seen.states.numpy()
    assert best_linear_accuracy(x, seen) > 1.4 / GROUPS
    assert best_linear_accuracy(erased(fitted(seen, tol=0), x), seen) == pytest.approx(1 / GROUPS)


def test_two_groups_are_the_closed_form_of_a_number():
    """For one column z: `P = I - C C^T S^-1 / (C^T S^-1 C)`."""
    seen = labelled(groups=2)
    x = seen.states.numpy()
    covariance = np.cov(x.T, bias=True)
    c = cross(x, one_hot(seen)[:, :1])
    solved = np.linalg.solve(covariance, c)
    expected = np.eye(WIDTH) - c @ solved.T / (c.T @ solved)
    found = fitted(seen, tol=0)
    assert found.left.shape == (WIDTH, 1)
    assert_allclose(matrix(found), expected, atol=1e-5)
    assert_allclose(found.mean, x.mean(0), atol=1e-6)


def test_it_projects_and_its_rank_is_that_of_the_concept():
    p = matrix(fitted(labelled(), tol=0))
    assert_allclose(p @ p, p, atol=1e-5)
    assert np.linalg.matrix_rank(np.eye(WIDTH) - p, tol=1e-4) == GROUPS - 1
    assert np.abs(p - p.T).max() > 1e-2  # oblique: the states are correlated


def test_no_map_that_erases_moves_the_states_less():
    """Every rival is r + N with N C = 0; the least of E|x - r(x)|^2 over N is at 0."""
    seen = labelled()
    x = seen.states.numpy()
    found = fitted(seen, tol=0)
    covariance, c = np.cov(x.T, bias=True), cross(x, one_hot(seen))
    away = np.eye(WIDTH) - matrix(found)
    least = np.trace(away @ covariance @ away.T)
    outside = np.eye(WIDTH) - c @ np.linalg.pinv(c)
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.1, 1.0):
        for _ in range(20):
            rival = away + size * rng.normal(size=away.shape) @ outside
            assert np.abs((np.eye(WIDTH) - rival) @ c).max() < 1e-5
            assert np.trace(rival @ covariance @ rival.T) > least
    orthogonal = c @ np.linalg.pinv(c)
    assert np.trace(orthogonal @ covariance @ orthogonal.T) > 1.01 * least


def test_white_states_give_the_orthogonal_projection():
    seen = labelled(groups=2)
    x = seen.states.numpy()
    values, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    white = (x - x.mean(0)) @ axes / np.sqrt(values)
    seen = LabelledStates(torch.tensor(white), seen.groups, seen.tuples, 2)
    u = cross(white, one_hot(seen)[:, :1])
    u /= np.linalg.norm(u)
    assert_allclose(matrix(fitted(seen, tol=0)), np.eye(WIDTH) - u @ u.T, atol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_batches_do_not_matter_and_a_far_mean_costs_no_digits(offset):
    whole = fitted(labelled(), tol=0)
    parts = fitted(labelled(offset=offset), pieces=7, tol=0)
    assert_allclose(matrix(parts), matrix(whole), atol=1e-5)
    assert_allclose(parts.mean, whole.mean + offset, rtol=1e-6, atol=1e-6)


def test_what_a_tuple_shares_is_not_erased():
    """Groups of two kinds of tuples: the kind stays readable, the group within it does not."""
    one, two = labelled(seed=1, groups=2), labelled(seed=1, groups=2, offset=3.0)
    seen = LabelledStates(
        torch.cat([one.states, two.states]),
        torch.cat([one.groups, two.groups + 2]),
        torch.cat([one.tuples, two.tuples + TUPLES]),
        4,
    )
    found = fitted(seen, tol=0)
    after = erased(found, seen.states.numpy())
    kind = (seen.groups.numpy() >= 2).astype(float)[:, None]
    assert np.abs(cross(after, kind)).max() > 0.5
    for k in (0, 1):
        here = kind[:, 0] == k
        inside = (seen.groups.numpy()[here] % 2).astype(float)[:, None]
        before = np.abs(cross(seen.states.numpy()[here], inside)).max()
        assert np.abs(cross(after[here], inside)).max() < 1e-5 * before


def test_a_weaker_correlation_than_asked_is_left_in():
    seen = labelled(groups=2)
    x = seen.states.numpy()
    c = cross(x, one_hot(seen)[:, :1])[:, 0] / 0.5
    # Two columns of one number: the sum of squares doubles.
    correlation = np.sqrt(2 * c @ np.linalg.solve(np.cov(x.T, bias=True), c))
    assert fitted(seen, tol=correlation - 1e-3).left.shape[1] == 1
    with pytest.raises(ConfigError, match=r"lower it"):
        fitted(seen, tol=correlation + 1e-3)


def test_the_linear_map_erases_as_well():
    seen = labelled(offset=5.0)
    found = fitted(seen, tol=0, affine=False)
    assert not found.mean.any()
    assert np.abs(cross(erased(found, seen.states.numpy()), one_hot(seen))).max() < 1e-4


def test_what_cannot_be_erased_is_refused():
    with pytest.raises(ConfigError, match=r"projection\.tol is -1"):
        Leace(tol=-1)
    with pytest.raises(ConfigError, match="nothing tells groups apart"):
        Leace().fit()
    seen = labelled()
    with pytest.raises(ConfigError, match="nothing tells groups apart"):
        fitted(LabelledStates(seen.states, seen.groups * 0, seen.tuples, GROUPS))
    with pytest.raises(ConfigError, match="raise contexts"):
        fitted(labelled(tuples=2))
    with pytest.raises(ConfigError, match="not finite"):
        fitted(LabelledStates(seen.states * np.nan, seen.groups, seen.tuples, GROUPS))
