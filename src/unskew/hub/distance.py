"""How far a sibling's weights are from those of the base that an artefact was made on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from unskew.errors import ArtifactError
from unskew.hub.artifacts import base_named_by, read_manifest
from unskew.models.deltas import difference
from unskew.models.load import base_parameters, fingerprint, load_model


def base_of(artifact: Path, *, folder: str | None = None, dtype: str = "float32") -> Any:
    """The model an artefact was made on, on the CPU. Nothing is downloaded for it.

    Args:
        artifact: Folder of the artefact.
        folder: Where its base is, if not where the artefact says.
        dtype: That it had when the artefact was made.

    Raises:
        ArtifactError: The artefact names no base, it is not on this machine, or what is found under
            its name has other weights.
        ModelError: It cannot be loaded.
    """
    name = base_named_by(artifact)
    if name is None:
        raise ArtifactError("the artefact names no base model")
    model = load_model(folder or local_folder(name), dtype=dtype, device="cpu").model
    manifest = read_manifest(artifact)
    if manifest is not None and manifest.base_fingerprint != fingerprint(model):
        raise ArtifactError(
            f"{name!r} in {dtype} has not the weights that the artefact was made on; its run was "
            "of another precision, or the model has changed"
        )
    return model


def local_folder(name_or_path: str) -> str:
    """A model's folder: its own, or the one in the hub's cache.

    Raises:
        ArtifactError: It is not on this machine.
    """
    if Path(name_or_path).is_dir():
        return name_or_path
    try:
        found = Path(snapshot_download(name_or_path, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        found = None
    if found is None or not any(found.glob("*.safetensors")):
        raise ArtifactError(f"the base {name_or_path!r} is not on this machine; fetch it first")
    return str(found)


@torch.no_grad()
def relative_distance(model: Any, base: Any, names: Sequence[str]) -> float:
    """Frobenius norm of the difference of some weights, over that of the base's: 0 is the base.

    Independent weights of one size are the square root of 2 apart.

    Args:
        model: The sibling, with or without an adapter on it.
        base: The base.
        names: Of the weights, as they are called in the base.

    Raises:
        ArtifactError: One of the two has no such weight, or of another shape.
    """
    ours, theirs = (dict(base_parameters(m)) for m in (model, base))
    apart = whole = 0.0
    for name in names:
        if name not in theirs or ours[name].shape != theirs[name].shape:
            raise ArtifactError(f"the base has no {name} of the sibling's shape")
        before = theirs[name].float().cpu()
        change = difference(ours[name].cpu(), before)
        apart += _squared(change)
        whole += _squared(before)
    if not whole:
        raise ArtifactError("the base's weights are all 0 where the artefact acts")
    return (apart / whole) ** 0.5


def _squared(tensor: torch.Tensor) -> float:
    return torch.linalg.vector_norm(tensor, dtype=torch.float64).item() ** 2
