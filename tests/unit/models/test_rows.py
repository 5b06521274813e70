"""Even rows: zeros that come and go."""

from __future__ import annotations

import pytest
import torch

from unskew.models.rows import ROWS_MULTIPLE, EvenRows, even_rows, product


@pytest.mark.parametrize(("rows", "even"), [(0, 0), (1, 64), (63, 64), (64, 64), (65, 128)])
def test_rows_go_up_to_the_next_multiple(rows, even):
    assert ROWS_MULTIPLE == 64
    x = torch.randn(rows, 3)
    got = even_rows(x, torch.bfloat16)
    assert got.shape == (even, 3)
    assert torch.equal(got[:rows], x.bfloat16())
    assert not got[rows:].any()


def test_the_gradient_is_that_of_a_cast():
    x = torch.randn(5, 3, requires_grad=True)
    scale = torch.randn(64, 3).bfloat16()
    (EvenRows.apply(x, torch.bfloat16) * scale).sum().backward()
    assert torch.equal(x.grad, scale[:5].float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_has_the_rows_of_its_input(dtype):
    x, weight = torch.randn(7, 3), torch.randn(3, 4).to(dtype)
    got = product(torch.mm, x, weight)
    assert torch.equal(got, x.to(dtype) @ weight)
