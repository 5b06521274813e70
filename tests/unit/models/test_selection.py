"""Which weights are taken: exact numbers, ties by place, every grouping, against sorting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.errors import ConfigError
from unskew.models.selection import layer_of, select, top_k

ODD = [-3.5, -1e-40, -0.0, 0.0, 1e-40, 1.0, 1.0000001, 3e38]
"""Denormals, both zeros, neighbours and the end of the range: where bit patterns could mislead."""


def by_sorting(parts, count):
    """The masks a stable sort gives: numpy's, over all tensors end to end."""
    flat = np.concatenate([p.numpy() for p in parts])
    order = np.argsort(-flat.astype(np.float64), kind="stable")
    mask = np.zeros(len(flat), dtype=bool)
    mask[order[:count]] = True
    return np.split(mask, np.cumsum([len(p) for p in parts])[:-1])


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(ODD) | st.floats(-9, 9, width=32), min_size=1, max_size=40),
        min_size=1,
        max_size=4,
    ),
    st.floats(0, 1),
)
def test_top_k_is_a_stable_sort(values, share):
    parts = [torch.tensor(v) for v in values]
    count = round(share * sum(len(v) for v in values))
    found = top_k(parts, count)
    assert sum(int(m.sum()) for m in found) == count
    for mask, wanted in zip(found, by_sorting(parts, count), strict=True):
        assert mask.numpy().tolist() == wanted.tolist()


def test_both_zeros_are_one_value():
    (mask,) = top_k([torch.tensor([-0.0, 0.0, -0.0, 0.0])], 2)
    assert mask.tolist() == [True, True, False, False]


SCORES = {
    "h.0.a.weight": torch.tensor([[5.0, 1.0, 0.0], [2.0, 2.0, 2.0]]),
    "h.0.b.weight": torch.tensor([[9.0, 8.0], [0.5, -1.0]]),
    "h.1.a.weight": torch.tensor([[4.0, 3.0, 7.0]]),
    "head.weight": torch.tensor([[6.0, -2.0]]),
}


def taken(**options):
    return {n: m.int().tolist() for n, m in select(SCORES, **options).items()}


def test_per_tensor():
    """Halves of 6, 4, 3 and 2: 3, 2, floor(1.5 + .5) = 2 and 1; of three equal scores the first."""
    assert taken(fraction=0.5) == {
        "h.0.a.weight": [[1, 0, 0], [1, 1, 0]],
        "h.0.b.weight": [[1, 1], [0, 0]],
        "h.1.a.weight": [[1, 0, 1]],
        "head.weight": [[1, 0]],
    }


def test_per_layer():
    """30 % of layer 0's ten, of layer 1's three, of the two outside the layers: 3, 1, 1."""
    assert taken(fraction=0.3, ranking="per_layer") == {
        "h.0.a.weight": [[1, 0, 0], [0, 0, 0]],
        "h.0.b.weight": [[1, 1], [0, 0]],
        "h.1.a.weight": [[0, 0, 1]],
        "head.weight": [[1, 0]],
    }


def test_global():
    """A fifth of fifteen: 9, 8 and 7."""
    assert taken(fraction=0.2, ranking="global") == {
        "h.0.a.weight": [[0, 0, 0], [0, 0, 0]],
        "h.0.b.weight": [[1, 1], [0, 0]],
        "h.1.a.weight": [[0, 0, 1]],
        "head.weight": [[0, 0]],
    }


def test_rows_are_outputs_however_they_are_stored():
    """Row sums 6 and 6, 17 and -.5; as (in, out): columns 7, 3, 2 and 9.5, 7."""
    rows = {n: SCORES[n] for n in ("h.0.a.weight", "h.0.b.weight")}
    plain = select(rows, 0.5, granularity="row")
    assert plain["h.0.a.weight"].int().tolist() == [[1, 1, 1], [0, 0, 0]]
    assert plain["h.0.b.weight"].int().tolist() == [[1, 1], [0, 0]]
    turned = select(rows, 0.3, granularity="row", transposed=["h.0.a.weight"])
    assert turned["h.0.a.weight"].int().tolist() == [[1, 0, 0], [1, 0, 0]]


def test_tensors():
    """Sums 12, 16.5, 14, 4: half of four tensors are the second and third."""
    masks = select(SCORES, 0.5, granularity="tensor", ranking="global")
    assert [bool(m.all()) for m in masks.values()] == [False, True, True, False]
    assert not any(masks[n].any() for n in ("h.0.a.weight", "head.weight"))


def test_only_positive_scores():
    masks = select({"w": torch.tensor([2.0, 0.0, -1.0, -0.0])}, 0.75, only_positive=True)
    assert masks["w"].tolist() == [True, False, False, False]


@pytest.mark.parametrize("granularity", ["weight", "row"])
@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 1.0])
def test_equal_scores_give_the_exact_number(granularity, fraction):
    """Test (c) of the method: a threshold would take all or nothing."""
    scores = {"w": torch.full((40, 25), 0.125)}
    mask = select(scores, fraction, granularity=granularity)["w"]
    unit = 1 if granularity == "weight" else 25
    assert int(mask.sum()) == math.floor(fraction * 1000 / unit + 0.5) * unit
    assert mask.flatten()[: int(mask.sum())].all()


def test_the_order_of_the_tensors_is_kept():
    assert list(select(SCORES, 0.5, ranking="per_layer")) == list(SCORES)


def test_16_bit_scores_are_ranked():
    scores = {"w": torch.tensor([1.0, 3.0, 2.0, 3.0])}
    half = {"w": scores["w"].bfloat16()}
    assert torch.equal(select(scores, 0.5)["w"], select(half, 0.5)["w"])


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, math.nan])
def test_a_fraction_out_of_range(fraction):
    with pytest.raises(ConfigError, match=r"fraction is .*; it must be above 0 and at most 1"):
        select(SCORES, fraction)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite(value):
    with pytest.raises(ConfigError, match="the scores of b are not finite"):
        select({"a": torch.ones(2), "b": torch.tensor([0.0, value])}, 0.5)


def test_tensors_cannot_be_ranked_within_themselves():
    with pytest.raises(ConfigError, match=r"choose ranking=per_layer or global"):
        select(SCORES, 0.5, granularity="tensor")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("transformer.h.11.attn.c_attn.weight", "transformer.h.11"),
        ("model.layers.3.mlp.experts.7.w1.weight", "model.layers.3"),
        ("transformer.wte.weight", ""),
    ],
)
def test_the_layer_of_a_weight(name, layer):
    assert layer_of(name) == layer
