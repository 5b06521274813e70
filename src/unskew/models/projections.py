"""Projections of hidden states: read at a site, put on it by a hook, folded into the head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unskew.errors import ArtifactError, ConfigError
from unskew.models.logprobs import Batch
from unskew.models.sites import body_and_head, layer_sites
from unskew.protocols import Erasure

Site = Literal["final"] | int
"""`final` is what the head reads; a number is what the block of that layer gives, first is 0."""


def site_module(model: Any, site: Site) -> nn.Module:
    """The module whose output are the hidden states of a site.

    Raises:
        ConfigError: There is no such layer, or the model has no part before its head.
        UnknownArchitecture: A layer is asked for, and the layers of this model are not known.
    """
    if site == "final":
        if model.base_model is model:
            raise ConfigError("the model has no body apart from its head; name a layer as the site")
        # OPT's head reads its decoder, past the module around it.
        return getattr(model.base_model, "decoder", model.base_model)
    layers = layer_sites(model)
    if not 0 <= site < len(layers):
        raise ConfigError(f"site is {site}, but the model has the layers 0 to {len(layers) - 1}")
    return layers[site].block


@torch.no_grad()
def states_at(model: Any, site: Site, batch: Batch) -> Float[Tensor, "position width"]:
    """The hidden states at a site that predict each scored token, in float32."""
    found: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        found.append(_states_of(output))

    handle = site_module(model, site).register_forward_hook(keep)
    try:
        model.base_model(input_ids=batch.input_ids, use_cache=False)
    finally:
        handle.remove()
    return found[0].flatten(0, 1).index_select(0, batch.state_index).float()


class AttachedProjection:
    """A map of hidden states on a model, by a hook, until `remove`.

    The model gets `disable_adapter`, as one with an adapter has, so that the base is the same
    model with the projection off.

    Args:
        model: No weight of it is changed.
        erasure: The map, applied in float32.
        site: Where.
        strength: Share of the way from the state to its image; 0 changes nothing.

    Raises:
        ConfigError: There is no such site, or the model carries a projection already.
        ArtifactError: The states are of another width.
    """

    def __init__(self, model: Any, erasure: Erasure, site: Site, strength: float = 1.0) -> None:
        if hasattr(model, "disable_adapter"):
            raise ConfigError(
                "the model carries an adapter or a projection already; bake it in with unskew merge"
            )
        width = model.config.get_text_config().hidden_size
        if len(erasure.mean) != width:
            raise ArtifactError(
                f"the projection is of states of width {len(erasure.mean)}, the model's have "
                f"{width}; it was made for another model"
            )
        self.model, self.erasure, self.strength = model, erasure, strength
        self.site: Site = site
        device = next(model.parameters()).device
        self._mean, self._left, self._right = (
            t.to(device) for t in (erasure.mean, erasure.left, erasure.right)
        )
        self._is_off = False
        self.attach()

    def attach(self) -> None:
        """Put the map on, again after `remove`."""
        self._handle = site_module(self.model, self.site).register_forward_hook(self._hook)
        self.model.disable_adapter = self.off
        self.model.projection = self

    @property
    def settled(self) -> Erasure:
        """The map with the strength in it."""
        found = self.erasure
        return Erasure(found.mean, self.strength * found.left, found.right)

    @contextmanager
    def off(self) -> Iterator[None]:
        """The base model while the block runs."""
        before, self._is_off = self._is_off, True
        try:
            yield
        finally:
            self._is_off = before

    def remove(self) -> None:
        """Leave the model as it was before."""
        self._handle.remove()
        del self.model.disable_adapter, self.model.projection

    def _hook(self, module: nn.Module, args: Any, output: Any) -> Any:
        if self._is_off or self.strength == 0:
            return None
        return _with_states(output, self._moved(_states_of(output)))

    def _moved(self, states: Tensor) -> Tensor:
        exact = states.float()
        change = ((exact - self._mean) @ self._right.T) @ self._left.T
        return (exact - self.strength * change).to(states.dtype)


@torch.no_grad()
def fold(attached: AttachedProjection) -> Any:
    """Put an attached projection into the head and take the hook off; returns the model.

    `W' = W (I - left right)` and `b' = b + W left right mean`. A tied head gets weights of its own.

    Raises:
        ArtifactError: No head does the same: the states are not those it reads, or it has no bias
            and the map moves the origin.
    """
    model, erasure = attached.model, attached.settled
    mend = "attach it when the model is loaded (unskew evaluate --adapter, Run.model)"
    with attached.off():
        parts = body_and_head(model)
    if attached.site != "final" or parts is None or type(parts[1]) is not nn.Linear:
        raise ArtifactError(
            f"a projection at {attached.site!r} of this model is no change of its head; {mend}"
        )
    head = parts[1]
    left, right = (t.to(head.weight.device) for t in (erasure.left, erasure.right))
    moved = head.weight.float() @ left
    shift = moved @ (right @ erasure.mean.to(right.device))
    if shift.any() and head.bias is None:
        raise ArtifactError(
            "the projection moves the origin, and this model's head has no bias to hold that; make "
            f"it with projection.affine=false, or {mend}"
        )
    bias = None if head.bias is None else head.bias.float() + shift
    head.weight = nn.Parameter((head.weight.float() - moved @ right).to(head.weight.dtype))
    if bias is not None:
        head.bias = nn.Parameter(bias.to(head.weight.dtype))
    model.config.get_text_config().tie_word_embeddings = False
    model.config.tie_word_embeddings = False
    attached.remove()
    return model


def _states_of(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    return output.last_hidden_state if hasattr(output, "last_hidden_state") else output[0]


def _with_states(output: Any, states: Tensor) -> Any:
    if isinstance(output, Tensor):
        return states
    if hasattr(output, "last_hidden_state"):
        output["last_hidden_state"] = states
        return output
    return (states, *output[1:])
