"""Only chosen weights may move, and the others cannot: they are no parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unskew.errors import ModelError, NoMatchingParameter
from unskew.models.deltas import SparseTensor, WeightDelta, difference
from unskew.models.load import KEPT, base_parameters
from unskew.models.masks import load_masks
from unskew.registry import nearest

INDEX = "_index"


class MaskedScope:
    """The weights that a mask marks; every other weight stays bitwise what it was.

    The marked weights of a tensor become one trainable vector, `NAME_kept`, in float32 whatever the
    model's dtype. The tensor itself is frozen, and a forward pass uses a copy of it with the vector
    written in. Neither weight decay nor an optimizer's momentum can therefore reach the others, and
    moments are held for the marked weights alone. `kept_delta` takes out what was learned.

    Args:
        mask: A mask file or its folder; from Python also masks by name of the weight.

    Raises:
        ArtifactError: There is no mask, or it is damaged.

    Source: the constraint of SalUn (Fan et al. 2024, arXiv 2310.12508), theta = theta_0 + m delta.
    Departs: SalUn masks gradients, which an optimizer's weight decay and momentum get round.
    """

    def __init__(self, mask: str | Mapping[str, Any]) -> None:
        self.masks: Mapping[str, Bool[Tensor, "..."]] = (
            load_masks(Path(mask)) if isinstance(mask, str) else mask
        )

    def apply(self, model: Any) -> Any:
        """Freeze the model but for the marked weights; it is changed in place.

        The result has `disable_adapter`, a context in which it computes what the base model does.

        Raises:
            NoMatchingParameter: The mask marks nothing, or names what the model does not have.
            ModelError: It marks a weight that is used twice, or one that is quantised.
        """
        _check(model, self.masks)
        model.requires_grad_(False)
        layers = [_KeptWeights(model, name, m) for name, m in self.masks.items() if m.any()]

        @contextmanager
        def disable_adapter() -> Iterator[None]:
            for layer in layers:
                layer.is_off = True
            try:
                yield
            finally:
                for layer in layers:
                    layer.is_off = False

        model.disable_adapter = disable_adapter
        model.kept_weights = layers
        return model


class _KeptWeights:
    """The marked weights of one tensor, and the hooks that put them in its place.

    A hook hides the parameter behind an instance attribute while the module computes, so that the
    model keeps its parameters, their names and their order.
    """

    def __init__(self, model: nn.Module, name: str, mask: Bool[Tensor, "..."]) -> None:
        place, _, leaf = name.rpartition(".")
        self.name, self.leaf, self.is_off = name, leaf, False
        self.module = model.get_submodule(place)
        parameter = self.module.get_parameter(leaf)
        index = mask.flatten().nonzero().flatten().to(parameter.device)
        kept = nn.Parameter(parameter.detach().view(-1)[index].float())
        self.module.register_parameter(leaf + KEPT, kept)
        self.module.register_buffer(leaf + KEPT + INDEX, index, persistent=False)
        self.hooks = (
            self.module.register_forward_pre_hook(self._show),
            self.module.register_forward_hook(self._hide, always_call=True),
        )

    @property
    def index(self) -> Tensor:
        """Places of the marked weights in the flattened tensor."""
        return self.module.get_buffer(self.leaf + KEPT + INDEX)

    def weight(self) -> Float[Tensor, "..."]:
        """The tensor with the marked weights written in; differentiable in those."""
        # Not by get_parameter, which would check the type: bf16 training swaps in a rounded copy.
        frozen: Any = self.module._parameters[self.leaf]
        kept = self.module.get_parameter(self.leaf + KEPT).to(frozen.dtype)
        return frozen.view(-1).index_copy(0, self.index, kept).view(frozen.shape)

    def settled(self) -> SparseTensor:
        """What was learned, as the model's dtype holds it; see `kept_delta`."""
        frozen = self.module.get_parameter(self.leaf)
        flat = frozen.view(-1)
        kept = self.module.get_parameter(self.leaf + KEPT)
        learned = difference(kept.to(frozen.dtype), flat[self.index])
        kept.copy_(flat[self.index].float() + learned)
        moved = learned != 0
        return SparseTensor(tuple(frozen.shape), self.index[moved].cpu(), learned[moved].cpu())

    def remove(self) -> None:
        """Leave the module as it was before."""
        for hook in self.hooks:
            hook.remove()
        del self.module._parameters[self.leaf + KEPT]
        del self.module._buffers[self.leaf + KEPT + INDEX]

    def _show(self, module: nn.Module, args: Any) -> None:
        if not self.is_off:
            module.__dict__[self.leaf] = self.weight()

    def _hide(self, module: nn.Module, args: Any, output: Any) -> None:
        module.__dict__.pop(self.leaf, None)


def kept_delta(model: Any) -> WeightDelta:
    """What a masked model learned, by name in the base model, without tensors that did not move.

    A difference in float32 is rounded where a weight became many times larger, so the model is set
    to what the delta gives on its base: the two agree to the last bit.

    Args:
        model: With `MaskedScope` applied.
    """
    with torch.no_grad():
        found = {layer.name: layer.settled() for layer in model.kept_weights}
    return {name: change for name, change in found.items() if len(change.index)}


def release(model: Any) -> Any:
    """The base model, without what was learned and without the scope."""
    for layer in model.kept_weights:
        layer.remove()
    del model.kept_weights, model.disable_adapter
    return model


def _check(model: Any, masks: Mapping[str, Tensor]) -> None:
    parameters = dict(base_parameters(model))
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    for name, mask in masks.items():
        if name not in parameters or parameters[name].shape != mask.shape:
            raise NoMatchingParameter(
                f"the mask names {name} of shape {list(mask.shape)}, which this model does not have"
                f"{nearest(name, parameters)}; make a mask from this model"
            )
        if mask.any() and uses[id(parameters[name])] > 1:
            raise ModelError(
                f"the mask marks {name}, a weight that this model uses twice (a tied head); leave "
                "embeddings and head out of it"
            )
        if not parameters[name].is_floating_point():
            raise ModelError(
                f"{name} is stored as {parameters[name].dtype}; a mask needs a model that is not "
                "quantised"
            )
    if not any(mask.any() for mask in masks.values()):
        raise NoMatchingParameter("the mask marks no weight; raise its fraction")
