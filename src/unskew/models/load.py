"""Models and tokenizers from a hub id or a folder, ready to score and to train."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from unskew.errors import ConfigError, ModelError
from unskew.models.activations import fuse_activations
from unskew.models.sites import text_model_type
from unskew.models.tokens import Encoder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEFAULT_CONTEXT = 2048
KEPT = "_kept"
"""End of the name of the trainable vector that `MaskedScope` puts beside a weight."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal language model in eval mode with its tokenizer."""

    model: Any
    tokenizer: Any
    encoder: Encoder
    name_or_path: str

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.model.parameters()).device


def load_model(
    name_or_path: str,
    *,
    dtype: str = "float32",
    revision: str | None = None,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    device: str | torch.device | None = None,
    keep_dropout: bool = False,
) -> LoadedModel:
    """Load a causal language model with its dropout switched off and its activations fused.

    Dropout is off because a reference without it and a policy with it differ before the first
    step, and because its noise would depend on how a chunk is cut into micro-batches.

    Args:
        name_or_path: Hub id, or a folder with config.json and safetensors weights.
        dtype: `float32`, `bfloat16` or `float16`.
        revision: Branch, tag or commit of a hub repository.
        attn_implementation: Passed to transformers; its own choice if None.
        trust_remote_code: Run code that comes with the model.
        device: Where to put it; a CUDA device if there is one, else the CPU.
        keep_dropout: Leave the configuration's dropout rates, for a model that is written again.

    Raises:
        ConfigError: There is no such dtype.
        ModelError: The model does not exist, is no causal language model, has no safetensors
            weights, or its tokenizer cannot be used.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
    shared = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = load_config(name_or_path, shared)
    if not keep_dropout:
        _switch_off_dropout(config)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name_or_path,
            config=config,
            dtype=DTYPES[dtype],
            attn_implementation=attn_implementation,
            use_safetensors=True,
            output_loading_info=True,
            **shared,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"cannot load the weights of {name_or_path!r}: {_first_line(error)}; "
            "the folder needs whole safetensors files"
        ) from error
    model = _whole(loaded, name_or_path)
    model.to(torch.device(device)).eval()
    fuse_activations(model)
    tokenizer = load_tokenizer(name_or_path, revision, trust_remote_code)
    highest = max(_vocabulary(tokenizer).values())
    if highest >= config.get_text_config().vocab_size:
        raise ModelError(
            f"tokenizer of {name_or_path!r} has id {highest}, but the model's vocabulary ends at "
            f"{config.get_text_config().vocab_size - 1}; it belongs to another model"
        )
    return LoadedModel(model, tokenizer, Encoder(tokenizer, context_length(config)), name_or_path)


def load_classifier(name_or_path: str, revision: str | None = None) -> tuple[Any, Any]:
    """Load a text classification model in float32 and its tokenizer; no code of theirs is run.

    Args:
        name_or_path: Hub id, or a folder with config.json, safetensors weights and a tokenizer.
        revision: Branch, tag or commit of a hub repository.

    Raises:
        ModelError: It does not exist, is no classifier, has no safetensors weights, or its
            tokenizer cannot be used.
    """
    shared = {"revision": revision, "trust_remote_code": False}
    try:
        loaded: Any = AutoModelForSequenceClassification.from_pretrained(
            name_or_path,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **shared,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"cannot load the classifier {name_or_path!r}: {_first_line(error)}; give a folder or "
            "hub id of a text classification model with safetensors weights"
        ) from error
    model = _whole(loaded, name_or_path)
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    tokenizer = load_tokenizer(name_or_path, revision)
    if tokenizer.pad_token is None:
        raise ModelError(
            f"the tokenizer of the classifier {name_or_path!r} has no padding token; set "
            "tokenizer.pad_token and model.config.pad_token_id, and save both again"
        )
    # Tokenizers that do not know how much their model reads say a huge number.
    tokenizer.model_max_length = min(tokenizer.model_max_length, context_length(model.config))
    return model, tokenizer


def _whole(loaded: Any, name_or_path: str) -> Any:
    """The model, unless weights are missing from its files."""
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"the weights of {name_or_path!r} lack {len(missing)} tensors, first {missing[0]}, "
            "which would be random numbers; fetch or save the model again"
        )
    return model


def load_tokenizer(
    name_or_path: str, revision: str | None = None, trust_remote_code: bool = False
) -> Any:
    """Load a fast tokenizer.

    Raises:
        ModelError: There is none at this place.
    """
    problem = "it has no vocabulary"
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name_or_path, revision=revision, trust_remote_code=trust_remote_code
        )
        # Where there are no files, transformers makes a tokenizer of special tokens alone.
        if _vocabulary(tokenizer):
            return tokenizer
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = _first_line(error)
    raise ModelError(
        f"no tokenizer in {name_or_path!r}: {problem}; a model folder needs tokenizer.json and "
        "tokenizer_config.json"
    )


def _vocabulary(tokenizer: Any) -> dict[str, int]:
    """Ids of the tokens that text is made of, without added ones such as Gemma 3's image token."""
    added = tokenizer.get_added_vocab()
    return {token: i for token, i in tokenizer.get_vocab().items() if token not in added}


def context_length(config: Any) -> int:
    """Longest sequence the model takes, in tokens."""
    text_config = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        length = getattr(text_config, name, None)
        if isinstance(length, int) and length > 0:
            return length
    return DEFAULT_CONTEXT


def fingerprint(model: Any) -> str:
    """Hash of config and weights: the first and last bytes of every tensor and all shapes.

    A sample, so that a 70B model takes seconds; it tells checkpoints apart, it is no signature.
    """
    digest = hashlib.sha256(text_model_type(model).encode())
    for name, parameter in base_parameters(model):
        flat = parameter.detach().flatten()
        ends = torch.cat((flat[:256], flat[-256:])).float().cpu()
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(ends.numpy().tobytes())
    return digest.hexdigest()[:16]


def base_parameters(model: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Parameters of the model itself, without an adapter or a masked scope's vectors.

    They bear the names and come in the order that they have without those.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    for name, parameter in inner.named_parameters():
        if ".lora_" not in name and not name.endswith(KEPT):
            yield name.replace(".base_layer.", "."), parameter


def load_config(name_or_path: str, shared: dict[str, Any]) -> Any:
    """The configuration of a causal language model.

    Args:
        name_or_path: Hub id or folder.
        shared: `revision` and `trust_remote_code`, as transformers takes them.

    Raises:
        ModelError: It cannot be reached, or is of no causal language model.
    """
    folder = Path(name_or_path)
    if folder.exists() and not (folder / "config.json").is_file():
        hint = (
            " (it is an adapter: name its base model)"
            if (folder / "adapter_config.json").is_file()
            else ""
        )
        raise ModelError(
            f"no config.json in {name_or_path!r}{hint}; give a model folder or a hub id"
        )
    try:
        config = AutoConfig.from_pretrained(name_or_path, **shared)
    except (OSError, ValueError, KeyError) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") == "1" else ""
        raise ModelError(
            f"no model {name_or_path!r}: it is neither a folder nor a hub repository that can be "
            f"reached{offline}: {_first_line(error)}"
        ) from error
    custom = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not custom:
        raise ModelError(
            f"{name_or_path!r} is of type {config.model_type!r}, which has no causal language "
            "model head; unskew works on models that AutoModelForCausalLM loads"
        )
    return config


def _switch_off_dropout(config: Any) -> None:
    """Set every dropout rate of the configuration to 0."""
    for node in {id(c): c for c in (config, config.get_text_config())}.values():
        for name, value in vars(node).items():
            is_rate = name.endswith(("dropout", "drop", "dropout_rate"))
            if is_rate and isinstance(value, float) and name != "classifier_dropout":
                setattr(node, name, 0.0)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
