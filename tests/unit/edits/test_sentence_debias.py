"""SentenceDebias against a planted direction and the singular vectors of the differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from unskew.edits.sentence_debias import SentenceDebias
from unskew.errors import ConfigError
from unskew.protocols import Erasure, LabelledStates

WIDTH, TUPLES = 12, 60


def planted(seed=0, noise=0.0, sizes=(2.0,)) -> tuple[LabelledStates, np.ndarray]:
    """Unit states `base + s v` with s = +-size of orthogonal v; noise is of the tuple's members."""
    rng = np.random.default_rng(seed)
    v = np.linalg.qr(rng.normal(size=(WIDTH, len(sizes))))[0]
    base = 10 * rng.normal(size=(TUPLES, 1, WIDTH))
    base -= base @ v @ v.T
    signs = rng.choice([-1.0, 1.0], size=(TUPLES, 1, len(sizes)))
    moves = np.concatenate([signs, -signs], axis=1) * np.array(sizes)
    states = base + moves @ v.T + noise * rng.normal(size=(TUPLES, 2, WIDTH))
    groups = torch.tensor([0, 1]).repeat(TUPLES)
    tuples = torch.arange(TUPLES).repeat_interleave(2)
    return LabelledStates(torch.tensor(states.reshape(-1, WIDTH)), groups, tuples, 2), v


def fitted(seen: LabelledStates, *, k: int = 1, pieces: int = 1) -> Erasure:
    part = SentenceDebias(k)
    for names in seen.tuples.unique().chunk(pieces):
        here = torch.isin(seen.tuples, names)
        part.update(
            LabelledStates(seen.states[here], seen.groups[here], seen.tuples[here], seen.num_groups)
        )
    return part.fit()


def test_a_planted_direction_is_found_and_taken_out():
    seen, v = planted(noise=0.01)
    found = fitted(seen)
    assert abs(found.left[:, 0].double().numpy() @ v[:, 0]) > 0.999
    states = seen.states.float()
    after = states - states @ found.right.T @ found.left.T
    assert (after @ found.left).abs().max() < 1e-4
    assert_allclose(after - after @ found.right.T @ found.left.T, after, atol=1e-5)
    assert not found.mean.any()


def test_components_are_the_singular_vectors_of_the_centred_unit_states():
    seen, _ = planted(noise=0.5, sizes=(3.0, 1.0))
    unit = seen.states.numpy()
    unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).reshape(TUPLES, 2, WIDTH)
    centred = (unit - unit.mean(1, keepdims=True)).reshape(-1, WIDTH)
    *_, expected = np.linalg.svd(centred)
    found = fitted(seen, k=3)
    assert_allclose(np.abs(expected[:3] @ found.left.double().numpy()), np.eye(3), atol=1e-5)


def test_the_length_of_a_state_does_not_matter():
    seen, _ = planted(noise=0.5)
    lengths = torch.logspace(-2, 2, len(seen.states), dtype=torch.float64)[:, None]
    longer = LabelledStates(lengths * seen.states, seen.groups, seen.tuples, 2)
    ours, wanted = fitted(longer), fitted(seen)
    assert_allclose(ours.left @ ours.right, wanted.left @ wanted.right, atol=1e-5)


def test_neither_batches_nor_order_nor_lone_states_matter():
    seen, _ = planted(noise=0.5)
    wanted = fitted(seen)
    backwards = LabelledStates(seen.states.flip(0), seen.groups.flip(0), seen.tuples.flip(0), 2)
    lone = LabelledStates(
        torch.cat([seen.states, 50 * torch.randn(9, WIDTH, dtype=torch.float64)]),
        torch.cat([seen.groups, torch.zeros(9, dtype=torch.long)]),
        torch.cat([seen.tuples, TUPLES + torch.arange(9)]),
        2,
    )
    for found in (fitted(seen, pieces=5), fitted(backwards), fitted(lone)):
        assert_allclose(found.left @ found.right, wanted.left @ wanted.right, atol=1e-5)


def test_what_has_no_direction_is_refused():
    with pytest.raises(ConfigError, match=r"projection\.k is 0"):
        SentenceDebias(0)
    with pytest.raises(ConfigError, match="raise contexts"):
        SentenceDebias().fit()
    seen, _ = planted()
    still = LabelledStates(torch.ones_like(seen.states), seen.groups, seen.tuples, 2)
    with pytest.raises(ConfigError, match="in 0 directions"):
        fitted(still)
