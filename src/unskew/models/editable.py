"""Linear maps whose weights an edit shifts: what they read, what reaches them, the shift itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unskew.errors import ConfigError, NoMatchingParameter
from unskew.models.deltas import WeightDelta, sparse
from unskew.models.sites import is_transposed, layer_sites, linear_names
from unskew.registry import nearest

Shifts = Mapping[str, Float[Tensor, "inputs outputs"]]
"""By the name of the map; what is added to the W of `x W`, whichever way round it is stored."""
Places = tuple[Float[Tensor, "place inputs"], Float[Tensor, "place outputs"]]
"""What a map read at some places, and the gradient of a loss in what it gave there."""


def mlp_outputs(model: Any, last_blocks: int) -> tuple[str, ...]:
    """Names of the last linear map of the MLP in each of the last blocks.

    Raises:
        ConfigError: The model has fewer blocks.
        UnknownArchitecture, NoMatchingParameter: The model's layers are not known.
    """
    layers = layer_sites(model)
    if last_blocks > len(layers):
        raise ConfigError(f"last_blocks is {last_blocks}, but the model has {len(layers)} blocks")
    names = {id(module): name for name, module in model.named_modules()}
    return tuple(names[id(layer.mlp)] for layer in layers[-last_blocks:])


def matching_linear(model: Any, patterns: Sequence[str]) -> tuple[str, ...]:
    """Names of the linear maps that match some pattern, in the order of the model.

    Args:
        model: A causal language model.
        patterns: Full names, in which `*` stands for anything.

    Raises:
        NoMatchingParameter: A pattern matches none.
    """
    linear = linear_names(model)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in linear):
            raise NoMatchingParameter(
                f"no linear map of the model is called {pattern!r}{nearest(pattern, linear)}; `*` "
                "stands for anything, e.g. '*.11.mlp.c_proj'"
            )
    return tuple(n for n in linear if any(fnmatchcase(n, p) for p in patterns))


class EditableMaps:
    """Some linear maps of a model.

    Args:
        model: A causal language model.
        names: Of `nn.Linear` or `Conv1D` modules.

    Raises:
        ConfigError: A weight is not stored in floating point, so the model is quantised.
    """

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        self.model = model
        self._modules: dict[str, Any] = {n: model.get_submodule(n) for n in names}
        for name, module in self._modules.items():
            if not module.weight.is_floating_point():
                raise ConfigError(
                    f"{name} is stored as {module.weight.dtype}; an edit needs a model that is not "
                    "quantised"
                )

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of each map."""
        return {name: (w.shape[0], w.shape[1]) for name, w in self._weights()}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Eval mode, and a gradient for these weights alone; afterwards both are as they were."""
        flags = [(p, p.requires_grad) for p in self.model.parameters()]
        was_training = self.model.training
        self.model.eval().requires_grad_(False)
        try:
            for module in self._modules.values():
                module.weight.requires_grad_(True)
            yield
        finally:
            self.clear()
            self.model.train(was_training)
            for parameter, flag in flags:
                parameter.requires_grad_(flag)

    @contextmanager
    def watched(self, index: Int[Tensor, " place"]) -> Iterator[dict[str, Places]]:
        """Inside, one forward and one backward pass; what is yielded is filled when it ends.

        Args:
            index: Places of the flattened (row, seq) grid.
        """
        read: dict[str, Tensor] = {}
        reached: dict[str, Tensor] = {}
        found: dict[str, Places] = {}

        def at_places(tensor: Tensor) -> Tensor:
            # OPT's MLP works on a flat list already.
            return tensor.detach().flatten(0, -2).index_select(0, index).float()

        def watch(name: str, module: nn.Module) -> Any:
            def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
                read[name] = at_places(args[0])
                output.register_hook(lambda grad: reached.update({name: at_places(grad)}))

            return module.register_forward_hook(hook)

        with ExitStack() as stack:
            for name, module in self._modules.items():
                stack.callback(watch(name, module).remove)
            yield found
        found.update({name: (read[name], reached[name]) for name in self._modules})

    @contextmanager
    def shifted(self, shifts: Shifts) -> Iterator[None]:
        """The edited model while the block runs; its weights are then what they were, bit by bit.

        A copy is kept: taking the shift off again would leave rounding behind.
        """
        kept = {name: weight.detach().clone() for name, weight in self._weights()}
        try:
            with torch.no_grad():
                for name, weight in self._weights():
                    weight.copy_(kept[name].float() + shifts[name])
            yield
        finally:
            with torch.no_grad():
                for name, weight in self._weights():
                    weight.copy_(kept[name])

    def gradients(self) -> dict[str, Float[Tensor, "inputs outputs"]]:
        """Of the weights, as the backward passes since `clear` summed them, in float32."""
        return {
            name: _as_inputs_outputs(module, module.weight.grad).float()
            for name, module in self._modules.items()
        }

    def clear(self) -> None:
        """Forget the gradients."""
        for module in self._modules.values():
            module.weight.grad = None

    def delta(self, shifts: Shifts) -> WeightDelta:
        """Shifts as the change of the weights as they are stored."""
        return {
            f"{name}.weight": sparse(_as_inputs_outputs(module, shifts[name]))
            for name, module in self._modules.items()
        }

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        """Views of shape (inputs, outputs)."""
        for name, module in self._modules.items():
            yield name, _as_inputs_outputs(module, module.weight)


def _as_inputs_outputs(module: nn.Module, weight: Tensor) -> Tensor:
    """From the stored layout to (inputs, outputs); its own inverse."""
    return weight if is_transposed(module) else weight.T
