"""Masks on disk: one bit for each weight, with the number that may move."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unskew.errors import ArtifactError
from unskew.models.selection import Masks

MASK_FILE = "mask.safetensors"
FORMAT = "unskew_mask"


def save_masks(masks: Mapping[str, Bool[Tensor, "..."]], folder: Path) -> None:
    """Write `mask.safetensors` into a folder that exists."""
    tensors = {n: torch.from_numpy(np.packbits(m.flatten().numpy())) for n, m in masks.items()}
    header = {n: {"shape": list(m.shape), "kept": int(m.sum())} for n, m in masks.items()}
    save_file(tensors, str(folder / MASK_FILE), metadata={FORMAT: json.dumps(header)})


def load_masks(path: Path) -> Masks:
    """Read a mask.

    Args:
        path: The file, or the folder it is in.

    Raises:
        ArtifactError: There is none, or it is damaged.
    """
    file = path / MASK_FILE if path.is_dir() else path
    try:
        with safe_open(str(file), framework="pt") as stored:
            header = json.loads(stored.metadata()[FORMAT])
            masks = {n: _unpacked(stored.get_tensor(n), **entry) for n, entry in header.items()}
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ArtifactError(
            f"no mask can be read from {file}: {error}; name a {MASK_FILE} or its folder"
        ) from error
    return masks


def masks_sha256(masks: Mapping[str, Bool[Tensor, "..."]]) -> str:
    """Hash of names, shapes and bits."""
    digest = hashlib.sha256()
    for name, mask in sorted(masks.items()):
        digest.update(f"{name}{tuple(mask.shape)}".encode())
        digest.update(np.packbits(mask.flatten().numpy()).tobytes())
    return digest.hexdigest()


def _unpacked(packed: Tensor, shape: list[int], kept: int) -> Tensor:
    places = int(np.prod(shape))
    bits = np.unpackbits(packed.numpy(), count=places).astype(bool)
    if len(bits) != places or int(bits.sum()) != kept:
        raise ValueError(f"{int(bits.sum())} bits are set where {kept} of {places} should be")
    return torch.from_numpy(bits).view(shape)
