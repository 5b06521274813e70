"""A weight delta as a LoRA adapter of low rank: near it, and how near is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from peft import LoraConfig, get_peft_model
from torch import Tensor

from unskew.errors import ArtifactError, ConfigError
from unskew.models.deltas import WeightDelta
from unskew.models.sites import is_transposed, linear_names


@dataclass(frozen=True, slots=True)
class LowRank:
    """An adapter that comes near a delta."""

    model: Any
    """PEFT model in eval mode; its base weights are those of the given model."""
    relative_error: float
    """Frobenius norm of what the rank leaves out, over that of the delta; 0 to 1."""
    relative_error_by_tensor: Mapping[str, float]


def lora_svd(model: Any, delta: WeightDelta, rank: int) -> LowRank:
    """The best adapter of a rank for a delta, by singular value decomposition of each tensor.

    A masked delta is of high rank, so the error is seldom small; read it before using the adapter.

    Args:
        model: The base model without the delta; the adapter is put on it.
        delta: The change, of weights of linear maps only.
        rank: Of every map's adapter.

    Raises:
        ConfigError: The rank is not positive.
        ArtifactError: The delta changes something other than the weight of a linear map.

    Source: Eckart and Young 1936: the truncated decomposition is nearest in Frobenius norm.
    """
    if rank < 1:
        raise ConfigError(f"rank is {rank}; it must be at least 1")
    maps = {f"{name}.weight": name for name in linear_names(model)}
    for name in delta.keys() - maps.keys():
        raise ArtifactError(
            f"the delta changes {name}, which no LoRA adapter carries; keep the sparse delta"
        )
    transposed = {n for n in delta if is_transposed(model.get_submodule(maps[n]))}
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=[maps[name] for name in delta],
        fan_in_fan_out=bool(transposed),
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    inner = adapted.get_base_model()
    left_out: dict[str, float] = {}
    whole: dict[str, float] = {}
    for name, change in delta.items():
        dense = change.dense().T if name in transposed else change.dense()
        left_out[name] = _set_factors(inner.get_submodule(maps[name]), dense, rank)
        whole[name] = dense.norm().item()
    size = math.hypot(*whole.values())
    by_tensor = {n: left_out[n] / whole[n] if whole[n] else 0.0 for n in delta}
    total = math.hypot(*left_out.values()) / size if size else 0.0
    return LowRank(adapted.eval(), total, by_tensor)


@torch.no_grad()
def _set_factors(layer: Any, dense: Float[Tensor, "out in"], rank: int) -> float:
    """Set B A to the best approximation of that rank; return the norm of what is left out."""
    u, s, v = torch.linalg.svd(dense, full_matrices=False)
    kept = min(rank, len(s))
    root = s[:kept].sqrt()
    a, b = layer.lora_A["default"].weight.zero_(), layer.lora_B["default"].weight.zero_()
    a[:kept] = root[:, None] * v[:kept]
    b[:, :kept] = u[:, :kept] * root
    return s[kept:].norm().item()
