"""A shadow: the model with an adapter that learned what is to be found, and the way to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from peft.tuners.lora import LoraLayer
from torch import Tensor

from unskew.errors import ArtifactError
from unskew.models.load import base_parameters


class AdapterShadow(Mapping[str, Tensor]):
    """The points `theta_0 + t delta` between a base model and a LoRA adapter on it.

    As a mapping it is the dense delta, each tensor made when asked for. Only the adapter's scale
    changes, so no dense copy of the model is made.

    Args:
        model: PEFT model with one LoRA adapter.

    Raises:
        ArtifactError: The adapter changes more than `alpha / r B A` says.
    """

    def __init__(self, model: Any) -> None:
        config = model.peft_config["default"]
        if (
            config.peft_type != "LORA"
            or config.use_dora
            or config.modules_to_save
            or config.bias != "none"
        ):
            raise ArtifactError(
                "the adapter is no plain LoRA adapter (it has whole modules, biases or DoRA), so "
                "its change is not the product of its factors; train one with scope=lora"
            )
        self.model = model
        self._layers: dict[str, Any] = {
            n: m for n, m in model.named_modules() if isinstance(m, LoraLayer)
        }
        weights = {id(m.get_base_layer().weight): m for m in self._layers.values()}
        self._by_name = {n: weights[id(p)] for n, p in base_parameters(model) if id(p) in weights}

    @property
    def names(self) -> tuple[str, ...]:
        """Weights that the shadow moves, under their names in the base model."""
        return tuple(self._by_name)

    @torch.no_grad()
    def delta(self, name: str) -> Float[Tensor, "..."]:
        """The whole move of a weight, float32, on the CPU."""
        return self._by_name[name].get_delta_weight("default").float().cpu()

    def __getitem__(self, name: str) -> Float[Tensor, "..."]:
        return self.delta(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    @contextmanager
    def at(self, t: float) -> Iterator[None]:
        """The model at a point of the way: 0 is the base, 1 the shadow."""
        scales = {n: m.scaling["default"] for n, m in self._layers.items()}
        try:
            for name, layer in self._layers.items():
                layer.scaling["default"] = t * scales[name]
            yield
        finally:
            for name, layer in self._layers.items():
                layer.scaling["default"] = scales[name]
