"""A checkpoint: everything a stage needs to go on bit for bit, in safetensors and JSON.

`checkpoint-N/` holds the trainable weights (in PEFT's layout where an adapter carries them), the
optimizer's moments, the random state, and `trainer_state.json` plus `unskew_state.json`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from unskew.errors import CheckpointMismatch

STATE_FILE = "unskew_state.json"
TRAINER_FILE = "trainer_state.json"
TRAINABLE_FILE = "trainable.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
RANDOM_FILE = "random.safetensors"
ADAPTER_FILE = "adapter_model.safetensors"

Content = TypeVar("Content")


def save_trainable(model: Any, folder: Path) -> None:
    """Write the trainable weights: an adapter in PEFT's layout, else one safetensors file."""
    if hasattr(model, "peft_config"):
        # Told not to save embeddings, PEFT does not ask the hub whether they were resized.
        model.save_pretrained(str(folder), save_embedding_layers=False)
        return
    tensors = {n: t.contiguous() for n, t in _trainable(model).items()}
    save_file(tensors, str(folder / TRAINABLE_FILE), metadata={"format": "pt"})


def load_trainable(model: Any, folder: Path) -> None:
    """Read what `save_trainable` wrote into the model.

    Raises:
        CheckpointMismatch: The files are missing, damaged or belong to another model or scope.
    """
    file = ADAPTER_FILE if hasattr(model, "peft_config") else TRAINABLE_FILE
    stored = read_as(load_file, folder / file)
    wanted = _trainable(model)
    shapes = [{(n, t.shape) for n, t in tensors.items()} for tensors in (stored, wanted)]
    if odd := sorted(name for name, _ in shapes[0] ^ shapes[1]):
        raise CheckpointMismatch(f"{folder} was written with another scope; it differs in {odd[0]}")
    for name, tensor in wanted.items():
        tensor.copy_(stored[name])


def _trainable(model: Any) -> dict[str, torch.Tensor]:
    """The trainable tensors themselves, under the names they have on disk."""
    if hasattr(model, "peft_config"):
        return get_peft_model_state_dict(model, save_embedding_layers=False)
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


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
    tensors = read_as(load_file, folder / OPTIMIZER_FILE)
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
    tensors = read_as(load_file, folder / RANDOM_FILE)
    torch.random.set_rng_state(tensors["cpu"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


def last_checkpoint(folder: Path) -> Path | None:
    """Newest checkpoint; checkpoints are complete or absent, as they are renamed in."""
    found = _numbered(folder, "checkpoint")
    return found[max(found)] if found else None


def prune_checkpoints(folder: Path, limit: int) -> int:
    """Remove all checkpoints but the newest; return the step of the oldest that is left."""
    found = _numbered(folder, "checkpoint")
    steps = sorted(found)
    for step in steps[:-limit]:
        shutil.rmtree(found[step])
    return steps[-limit:][0]


def best_folder(folder: Path, step: int) -> Path:
    """Where the weights of the best evaluation are kept.

    The step is in the name: a resumed run must not take the best weights of a future that it
    does not repeat to the last bit.
    """
    return folder / f"best-{step}"


def prune_best(folder: Path, first: int) -> None:
    """Remove best weights of steps before `first`."""
    for step, path in _numbered(folder, "best").items():
        if step < first:
            shutil.rmtree(path)


def _numbered(folder: Path, prefix: str) -> dict[int, Path]:
    found = ((re.fullmatch(rf"{prefix}-(\d+)", p.name), p) for p in folder.glob(f"{prefix}-*"))
    return {int(match.group(1)): path for match, path in found if match}


def read_state(folder: Path, config_sha256: str) -> dict[str, Any]:
    """The JSON state of a checkpoint.

    Raises:
        CheckpointMismatch: It cannot be read, or another configuration wrote it.
    """
    state = read_as(lambda path: json.loads(Path(path).read_text("utf-8")), folder / STATE_FILE)
    if state["config_sha256"] != config_sha256:
        raise CheckpointMismatch(
            f"{folder} was written by another configuration; resume with the same settings or "
            "choose another --output-dir"
        )
    return state


def read_as(reader: Callable[[str], Content], path: Path) -> Content:
    """Read a file of a checkpoint.

    Raises:
        CheckpointMismatch: It is missing or damaged.
    """
    try:
        return reader(str(path))
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise CheckpointMismatch(
            f"{path} cannot be read ({error}); delete its folder to go on from an earlier one"
        ) from error
