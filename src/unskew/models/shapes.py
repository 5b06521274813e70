"""Models without weights: what a pass costs is counted on them, whatever their size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from unskew.models.activations import fuse_activations
from unskew.models.load import DTYPES, load_config

__all__ = ["PassCost", "meta_model", "pass_cost"]


@dataclass(frozen=True, slots=True)
class PassCost:
    """A pass through the layers, without the head."""

    forward: int
    """Floating-point operations of the forward pass alone."""
    both: int
    """The same of the forward and the backward pass."""
    saved_bytes: int
    """Activations that are kept for the backward pass."""


def meta_model(
    name_or_path: str, *, dtype: str = "float32", revision: str | None = None, remote: bool = False
) -> Any:
    """A causal language model on torch's meta device: shapes and types, no weights.

    The models of `known_shapes.yaml` are made without a network.

    Args:
        name_or_path: Hub id, or a folder with a config.json.
        dtype: Of its weights.
        revision: Branch, tag or commit of a hub repository.
        remote: Run code that comes with the model.

    Raises:
        ModelError: It is none of the known models, and its configuration cannot be read.
    """
    known = _known_shapes().get(name_or_path)
    if known is None:
        config = load_config(name_or_path, {"revision": revision, "trust_remote_code": remote})
    else:
        settings = {k: v for k, v in known.items() if k != "model_type"}
        config = AutoConfig.for_model(known["model_type"], **settings)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=DTYPES[dtype], trust_remote_code=remote
        )
    fuse_activations(model.eval())
    return model


@cache
def _known_shapes() -> Mapping[str, Mapping[str, Any]]:
    text = resources.files("unskew.models").joinpath("known_shapes.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def pass_cost(model: Any, rows: int, length: int) -> PassCost:
    """Count a pass of `rows` texts of `length` tokens.

    Args:
        model: With its scope applied; on the meta device nothing is computed.
        rows: Texts.
        length: Tokens of each.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    device = next(model.parameters()).device
    ids = torch.zeros((rows, length), dtype=torch.long, device=device)
    # Given whole, since transformers would look at values to make one, and here there are none.
    mask = torch.ones((rows, 1, length, length), dtype=torch.bool, device=device)

    def run() -> Tensor:
        read = inner.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        return read.last_hidden_state

    def both() -> None:
        hidden = run()
        if hidden.requires_grad:
            hidden.sum().backward()

    with torch.no_grad():
        forward = _operations(run)
    saved = _saved_bytes(run, {p.untyped_storage()._cdata for p in model.parameters()})
    trained = _operations(both)
    model.zero_grad(set_to_none=True)
    return PassCost(forward, trained, saved)


def _operations(run: Callable[[], Any]) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return counter.get_total_flops()


def _saved_bytes(run: Callable[[], Any], weights: set[int]) -> int:
    """Bytes of the storages that autograd keeps, each once, without the weights."""
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        # Held, since the address of one that is freed is given to the next.
        kept.setdefault(storage._cdata, storage)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storage.nbytes() for key, storage in kept.items() if key not in weights)
