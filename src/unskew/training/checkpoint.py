"""A checkpoint: everything a stage needs to go on bit for bit, in safetensors and JSON.

`checkpoint-N/` holds the trainable weights (in PEFT's layout where an adapter carries them), the
optimizer's moments, the random state, and `trainer_state.json` plus `unskew_state.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from unskew.errors import CheckpointMismatch

STATE_FILE = "unskew_state.json"
TRAINABLE_FILE = "trainable.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
RANDOM_FILE = "random.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"


def save_trainable(model: Any, folder: Path) -> None:
    """Write the trainable weights: an adapter in PEFT's layout, else one safetensors file."""
    if hasattr(model, "peft_config"):
        model.save_pretrained(str(folder))
        return
    tensors = {n: p.detach().contiguous() for n, p in model.named_parameters() if p.requires_grad}
    save_file(tensors, str(folder / TRAINABLE_FILE), metadata={"format": "pt"})


def load_trainable(model: Any, folder: Path) -> None:
    """Read what `save_trainable` wrote into the model.

    Raises:
        CheckpointMismatch: The files are missing or belong to another model or scope.
    """
    if hasattr(model, "peft_config"):
        from peft import set_peft_model_state_dict

        stored = _read(folder / ADAPTER_FILE)
        result = set_peft_model_state_dict(model, stored)
        unknown = list(getattr(result, "unexpected_keys", ()))
        if unknown:
            raise CheckpointMismatch(
                f"{folder} holds weights this adapter does not have: {unknown[:3]}"
            )
        return
    stored = _read(folder / TRAINABLE_FILE)
    wanted = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if stored.keys() != wanted.keys():
        odd = sorted(stored.keys() ^ wanted.keys())
        raise CheckpointMismatch(
            f"{folder} was written with another scope; it differs in {odd[:3]}"
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(stored[name])


def save_optimizer(optimizer: torch.optim.Optimizer, folder: Path) -> dict[str, Any]:
    """Write the optimizer's tensors; return the rest, which is JSON."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value.detach().cpu().contiguous()
            else:
                scalars.setdefault(str(index), {})[key] = value
    save_file(tensors, str(folder / OPTIMIZER_FILE))
    return {"param_groups": state["param_groups"], "scalars": scalars}


def load_optimizer(optimizer: torch.optim.Optimizer, folder: Path, rest: Mapping[str, Any]) -> None:
    """Put back what `save_optimizer` wrote."""
    tensors = _read(folder / OPTIMIZER_FILE)
    state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in rest["scalars"].items()}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": rest["param_groups"]})


def save_random_state(folder: Path) -> None:
    """Write torch's random state; nothing else draws numbers while training."""
    tensors = {"cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    save_file(tensors, str(folder / RANDOM_FILE))


def load_random_state(folder: Path) -> None:
    """Put back what `save_random_state` wrote."""
    tensors = _read(folder / RANDOM_FILE)
    torch.random.set_rng_state(tensors["cpu"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


def last_checkpoint(folder: Path) -> Path | None:
    """Newest complete checkpoint; checkpoints are complete or absent, as they are renamed in."""
    found = [
        (int(match.group(1)), path)
        for path in folder.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and (path / STATE_FILE).is_file()
    ]
    return max(found)[1] if found else None


def read_state(folder: Path, config_sha256: str) -> dict[str, Any]:
    """The JSON state of a checkpoint.

    Raises:
        CheckpointMismatch: It cannot be read, or another configuration wrote it.
    """
    try:
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointMismatch(
            f"{folder} cannot be read ({error}); delete the folder to go on from an earlier one"
        ) from error
    if state["config_sha256"] != config_sha256:
        raise CheckpointMismatch(
            f"{folder} was written by another configuration; resume with the same settings or "
            "choose another --output-dir"
        )
    return state


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(str(path))
    except Exception as error:
        raise CheckpointMismatch(f"{path} cannot be read: {error}") from error
