"""Where things are inside a model, per architecture: the one place that knows.

A new architecture is one row in `ARCHITECTURES`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import nn

from unskew.errors import NoMatchingParameter, UnknownArchitecture
from unskew.registry import nearest

Targets = Literal["attention", "all_linear"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Names of the linear maps inside one layer, relative to the layer.

    The last of each writes into the residual stream.
    """

    attention: tuple[str, ...]
    mlp: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LayerSites:
    """Modules whose outputs are the states of one layer."""

    block: nn.Module
    attention: nn.Module
    mlp: nn.Module


_LLAMA = Architecture(
    tuple(f"self_attn.{p}_proj" for p in "qkvo"),
    ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
_PHI3 = Architecture(
    ("self_attn.qkv_proj", "self_attn.o_proj"), ("mlp.gate_up_proj", "mlp.down_proj")
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "gpt2": Architecture(("attn.c_attn", "attn.c_proj"), ("mlp.c_fc", "mlp.c_proj")),
        "gpt_neo": Architecture(
            tuple(f"attn.attention.{p}_proj" for p in ("q", "k", "v", "out")),
            ("mlp.c_fc", "mlp.c_proj"),
        ),
        "gptj": Architecture(
            tuple(f"attn.{p}_proj" for p in ("q", "k", "v", "out")), ("mlp.fc_in", "mlp.fc_out")
        ),
        "gpt_neox": Architecture(
            ("attention.query_key_value", "attention.dense"),
            ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        ),
        "opt": Architecture(
            tuple(f"self_attn.{p}_proj" for p in ("q", "k", "v", "out")), ("fc1", "fc2")
        ),
        "phi": Architecture(
            (*(f"self_attn.{p}_proj" for p in "qkv"), "self_attn.dense"), ("mlp.fc1", "mlp.fc2")
        ),
        "phi3": _PHI3,
        "bloom": Architecture(
            ("self_attention.query_key_value", "self_attention.dense"),
            ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        ),
        "falcon": Architecture(
            ("self_attention.query_key_value", "self_attention.dense"),
            ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
        ),
        **dict.fromkeys(
            (
                "llama", "mistral", "ministral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text",
                "olmo", "olmo2", "olmo3", "smollm3", "granite", "stablelm", "cohere", "cohere2",
            ),
            _LLAMA,
        ),
    }
)  # fmt: skip


def text_model_type(model: Any) -> str:
    """`config.model_type` of the text part of a model."""
    return str(model.config.get_text_config().model_type)


def target_pattern(model: Any, targets: Targets) -> str:
    """Regular expression for the full names of a model's linear maps, as PEFT takes it.

    Args:
        model: A causal language model.
        targets: `attention` (the papers' choice) or `all_linear` (attention and MLP).

    Raises:
        UnknownArchitecture: The model type has no row here; the message lists the suffixes that
            the model does have.
        NoMatchingParameter: The row names no module of this model.
    """
    model_type = text_model_type(model)
    row = ARCHITECTURES.get(model_type)
    linear = linear_names(model)
    if row is None:
        suffixes = sorted(
            {re.sub(r"^.*\.\d+\.", "", n) for n in linear if re.search(r"\.\d+\.", n)}
        )
        raise UnknownArchitecture(
            f"no LoRA targets are known for model type {model_type!r}"
            f"{nearest(model_type, ARCHITECTURES)}; name them with scope.target_modules, "
            f"from: {', '.join(suffixes)}"
        )
    names = row.attention if targets == "attention" else row.attention + row.mlp
    pattern = rf".*\.({'|'.join(re.escape(n) for n in names)})"
    if not any(re.fullmatch(pattern, n) for n in linear):
        raise NoMatchingParameter(
            f"none of {', '.join(names)} exists in this {model_type!r} model; "
            "name its linear maps with scope.target_modules"
        )
    return pattern


def target_names(model: Any, targets: Targets) -> tuple[str, ...]:
    """Full names of the linear maps that `target_pattern` matches.

    Raises:
        UnknownArchitecture, NoMatchingParameter: See `target_pattern`.
    """
    pattern = re.compile(target_pattern(model, targets))
    return tuple(name for name in linear_names(model) if pattern.fullmatch(name))


def layer_sites(model: Any) -> list[LayerSites]:
    """Where the states of each layer come out, first layer first.

    What attention and MLP add is taken at their last linear map, which is one tensor in every
    architecture; a norm behind it works on each position alone, so that setting the state of a
    position before or after it is the same.

    Raises:
        UnknownArchitecture: The model type has no row here.
        NoMatchingParameter: The row names no module of this model, e.g. under an adapter.
    """
    model_type = text_model_type(model)
    row = ARCHITECTURES.get(model_type)
    if row is None:
        raise UnknownArchitecture(
            f"where the layers of model type {model_type!r} give their states is not known"
            f"{nearest(model_type, ARCHITECTURES)}; known are {', '.join(sorted(ARCHITECTURES))}"
        )
    modules = {n: m for n, m in model.named_modules() if m is not model.get_output_embeddings()}
    attention, mlp = row.attention[-1], row.mlp[-1]
    layers = [n.removesuffix(f".{mlp}") for n in modules if n.endswith(f".{mlp}")]
    if not layers or any(f"{n}.{attention}" not in modules for n in layers):
        raise NoMatchingParameter(
            f"{attention} and {mlp} do not exist in every layer of this {model_type!r} model; "
            "give a whole model of that type (unskew merge bakes an adapter in)"
        )
    return [
        LayerSites(modules[n], modules[f"{n}.{attention}"], modules[f"{n}.{mlp}"]) for n in layers
    ]


def linear_names(model: Any) -> tuple[str, ...]:
    """Full names of the linear maps (`nn.Linear` and GPT-2's `Conv1D`) before the head.

    The head stays out: the reference's logits are taken through it while the adapter is on.
    """
    head = model.get_output_embeddings()
    return tuple(
        name
        for name, module in model.named_modules()
        if module is not head and (isinstance(module, nn.Linear) or is_transposed(module))
    )


def is_transposed(module: nn.Module) -> bool:
    """Whether a linear map stores its weight as (in, out), as GPT-2's `Conv1D` does."""
    return type(module).__name__ == "Conv1D"


def body_and_head(model: Any) -> tuple[nn.Module, nn.Module] | None:
    """The part up to the last hidden state and the map to the vocabulary, adapters kept in place.

    None where the model's logits are more than `head(body(ids))`, e.g. scaled or capped: then
    callers take the model's own forward pass. Decided by comparing both on two short rows, not by
    a list of names.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = inner.get_output_embeddings()
    body = inner.base_model
    if head is None or body is inner:
        return None
    device = next(inner.parameters()).device
    ids = (
        torch.arange(1, 9, device=device).reshape(2, 4) % inner.config.get_text_config().vocab_size
    )
    was_training = inner.training
    inner.eval()
    try:
        with torch.no_grad():
            expected = inner(input_ids=ids, use_cache=False).logits
            got = head(body(input_ids=ids, use_cache=False).last_hidden_state)
    finally:
        inner.train(was_training)
    same = got.shape == expected.shape and torch.equal(got.to(expected.dtype), expected)
    return (body, head) if same else None
