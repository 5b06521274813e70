"""INLP against planted directions, least squares by numpy, and its own algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from unskew.edits.inlp import Inlp
from unskew.errors import ConfigError
from unskew.protocols import Erasure, LabelledStates

WIDTH, TUPLES = 10, 400


def planted(groups=2, *, size=3.0, seed=0) -> tuple[LabelledStates, np.ndarray]:
    """White noise, and a shift of its own for each group inside `groups - 1` directions."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(WIDTH, groups - 1)))[0]
    shift = size * rng.normal(size=(groups, groups - 1)) @ basis.T
    states = rng.normal(size=(TUPLES, groups, WIDTH)) + shift
    states += 5 * rng.normal(size=(TUPLES, 1, WIDTH))
    seen = LabelledStates(
        torch.tensor(states.reshape(-1, WIDTH)),
        torch.arange(groups).repeat(TUPLES),
        torch.arange(TUPLES).repeat_interleave(groups),
        groups,
    )
    return seen, basis


def fitted(seen: LabelledStates, *, pieces: int = 1, **options) -> Erasure:
    part = Inlp(**options)
    for names in seen.tuples.unique().chunk(pieces):
        here = torch.isin(seen.tuples, names)
        part.update(
            LabelledStates(seen.states[here], seen.groups[here], seen.tuples[here], seen.num_groups)
        )
    return part.fit()


def centred(values: np.ndarray, groups: int) -> np.ndarray:
    cut = values.reshape(TUPLES, groups, -1)
    return (cut - cut.mean(1, keepdims=True)).reshape(len(values), -1)


def explained(seen: LabelledStates, states: np.ndarray) -> float:
    """Share of the group's variance that least squares explains of the very states."""
    z = centred(np.eye(seen.num_groups)[seen.groups.numpy()], seen.num_groups)
    x = centred(states, seen.num_groups)
    weights, *_ = np.linalg.lstsq(x, z, rcond=1e-5)
    return 1 - float(((z - x @ weights) ** 2).sum() / (z**2).sum())


@pytest.mark.parametrize("groups", [2, 4])
def test_it_takes_the_planted_directions_and_stops(groups):
    seen, basis = planted(groups)
    found = fitted(seen, iterations=9, margin=0.03)
    q = found.left.double().numpy()
    assert q.shape[1] == groups - 1
    assert np.linalg.norm(basis.T @ q, ord=-2) > 0.95  # the same subspace
    p = np.eye(WIDTH) - q @ q.T
    assert_allclose(q.T @ q, np.eye(groups - 1), atol=1e-6)
    assert_allclose(p @ p, p, atol=1e-6)
    states = seen.states.numpy()
    assert explained(seen, states) > 0.5
    assert explained(seen, states @ p) < 0.05


def test_the_first_reader_of_two_groups_is_that_of_least_squares():
    seen, _ = planted()
    fitted_on = (seen.tuples % 4 != 3).numpy()
    x = centred(seen.states.numpy(), 2)[fitted_on]
    z = centred(np.eye(2)[seen.groups.numpy()], 2)[fitted_on, :1]
    w = np.linalg.lstsq(x, z, rcond=None)[0][:, 0]
    found = fitted(seen, iterations=1)
    assert abs(found.left[:, 0].double().numpy() @ w) == pytest.approx(np.linalg.norm(w), rel=1e-6)


def test_a_group_that_is_not_there_is_not_read():
    """Labels by lot: fitted states are explained by chance, held-out ones are not."""
    seen, _ = planted(size=0.0)
    with pytest.raises(ConfigError, match="lower it"):
        fitted(seen, margin=0.01)


def test_batches_do_not_matter():
    seen, _ = planted(4)
    one, many = fitted(seen, iterations=3), fitted(seen, iterations=3, pieces=9)
    assert_allclose(one.left @ one.right, many.left @ many.right, atol=1e-5)


def test_what_cannot_be_read_is_refused():
    for wrong in ({"iterations": 0}, {"margin": -1.0}):
        with pytest.raises(ConfigError, match=r"projection\.iterations is"):
            Inlp(**wrong)
    with pytest.raises(ConfigError, match="nothing tells groups apart"):
        Inlp().fit()
    seen, _ = planted()
    few = LabelledStates(seen.states[:8], seen.groups[:8], seen.tuples[:8], 2)
    with pytest.raises(ConfigError, match="raise contexts"):
        fitted(few)
