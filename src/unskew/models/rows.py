"""Matrix products in bfloat16 on a CPU, with an even number of rows.

oneDNN compiles a kernel for each shape it meets, about 5 ms, and sentences of real lengths make a
new number of rows in nearly every batch. Rows of zeros up to a multiple of 64 leave a few shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ROWS_MULTIPLE = 64


class EvenRows(torch.autograd.Function):
    """Rounds a matrix to a dtype and adds rows of zeros, in one pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype):
        ctx.rows, ctx.dtype = len(x), x.dtype
        return even_rows(x, dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor):
        return grad_outputs[0][: ctx.rows].to(ctx.dtype), None


def even_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy in `dtype` with rows of zeros up to a multiple of `ROWS_MULTIPLE`."""
    missing = -len(x) % ROWS_MULTIPLE
    even = x.new_empty(len(x) + missing, x.shape[1], dtype=dtype)
    even[: len(x)] = x
    even[len(x) :] = 0
    return even


def product(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor) -> Tensor:
    """`function(x, weight)`, a product row by row, in the weight's dtype; no gradient."""
    if weight.dtype != torch.bfloat16 or weight.device.type != "cpu":
        return function(x.to(weight.dtype), weight)
    return function(even_rows(x, weight.dtype), weight)[: len(x)]
