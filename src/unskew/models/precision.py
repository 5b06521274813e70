"""bfloat16 autocast that rounds frozen weights once, not at every use."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from unskew.models.rows import ROWS_MULTIPLE, EvenRows


class MixedPrecision:
    """A context in which matrix products run in bfloat16; call it to enter.

    Autocast rounds every weight on every forward pass and remembers the result only for weights
    that require gradients, so under an adapter it rounds the whole frozen model again and again.
    Here each frozen linear map holds its rounded copy, which is what autocast would have made:
    the numbers are the same. Outside the context the model has its own weights.

    On a CPU two more things happen. Linear maps get their input in an even number of rows (see
    `rows`). Where gradients are on when the context is entered, attention by torch's scaled dot
    product runs in float32: its backward pass is five times faster there than in bfloat16, and only
    its result is rounded. A reference pass inside of the context does the same as the policy's.

    Args:
        model: A model, with or without adapters, whose scope is applied.
    """

    def __init__(self, model: Any) -> None:
        self._device_type = next(model.parameters()).device.type
        self._swaps: list[tuple[nn.Module, str, nn.Parameter, nn.Parameter]] = []
        self._maps: list[nn.Module] = []
        head = model.get_output_embeddings()
        modules: Iterable[Any] = model.modules()
        for module in modules:
            if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
                self._swaps.extend(_rounded(module))
            elif not hasattr(module, "base_layer"):
                continue
            # A trainable head is computed once more in the backward pass, outside of the context.
            if module is not head or not any(p.requires_grad for p in module.parameters()):
                self._maps.append(module)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Enter: frozen linear maps rounded, autocast on."""
        on_cpu = _suited_to_cpu(self._maps) if self._device_type == "cpu" else nullcontext()
        for module, name, _, rounded in self._swaps:
            module._parameters[name] = rounded
        try:
            with on_cpu, torch.autocast(self._device_type, torch.bfloat16):
                yield
        finally:
            for module, name, own, _ in self._swaps:
                module._parameters[name] = own


def _rounded(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter, nn.Parameter]]:
    for name, own in module.named_parameters(recurse=False):
        if not own.requires_grad and own.dtype == torch.float32:
            copy = nn.Parameter(own.detach().to(torch.bfloat16), requires_grad=False)
            yield module, name, own, copy


@contextmanager
def _suited_to_cpu(maps: Sequence[nn.Module]) -> Iterator[None]:
    attention = ALL_ATTENTION_FUNCTIONS["sdpa"]
    # An attribute of its own hides the class's method; a library may have put one there before.
    hidden = [(m, m.__dict__.get("forward")) for m in maps]
    try:
        if torch.is_grad_enabled():
            ALL_ATTENTION_FUNCTIONS["sdpa"] = functools.partial(_in_float32, attention)
        for module in maps:
            module.forward = functools.partial(_on_even_rows, module.forward)
        yield
    finally:
        ALL_ATTENTION_FUNCTIONS["sdpa"] = attention
        for module, own in hidden:
            module.__dict__.pop("forward", None)
            if own is not None:
                module.forward = own


def _on_even_rows(forward: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    rows = x.numel() // x.shape[-1]
    if rows % ROWS_MULTIPLE == 0:
        return forward(x, *args, **kwargs)
    even: Any = EvenRows.apply(x.reshape(rows, x.shape[-1]), torch.bfloat16)
    return forward(even, *args, **kwargs)[:rows].view(*x.shape[:-1], -1)


def _in_float32(
    attention: Callable[..., Any],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Any]:
    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    exact = (query.float(), key.float(), value.float())
    with torch.autocast("cpu", enabled=False):
        found, weights = attention(module, *exact, attention_mask, **kwargs)
    return found.to(query.dtype), weights
