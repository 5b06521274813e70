"""bfloat16 autocast that rounds frozen weights once, not at every use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class MixedPrecision:
    """A context in which matrix products run in bfloat16; call it to enter.

    Autocast rounds every weight on every forward pass and remembers the result only for weights
    that require gradients, so under an adapter it rounds the whole frozen model again and again.
    Here each frozen linear map holds its rounded copy, which is what autocast would have made:
    the numbers are the same. Outside the context the model has its own weights.

    Args:
        model: A model, with or without adapters, whose scope is applied.
    """

    def __init__(self, model: Any) -> None:
        self._device_type = next(model.parameters()).device.type
        self._swaps: list[tuple[nn.Module, str, nn.Parameter, nn.Parameter]] = []
        for module in model.modules():
            if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
                self._swaps.extend(_rounded(module))

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Enter: frozen linear maps rounded, autocast on."""
        for module, name, _, rounded in self._swaps:
            module._parameters[name] = rounded
        try:
            with torch.autocast(self._device_type, torch.bfloat16):
                yield
        finally:
            for module, name, own, _ in self._swaps:
                module._parameters[name] = own


def _rounded(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter, nn.Parameter]]:
    for name, own in module.named_parameters(recurse=False):
        if not own.requires_grad and own.dtype == torch.float32:
            copy = nn.Parameter(own.detach().to(torch.bfloat16), requires_grad=False)
            yield module, name, own, copy
