"""Weight deltas on disk: safetensors that hold the kept places and what is added there.

`delta.safetensors` has for each tensor `NAME.gaps` (uint16), how many places are skipped before
each kept one, and `NAME.values`. A gap takes 2 bytes where an int32 index takes 4, so a weight
costs 6 bytes with float32 values, which are exact, and 4 with 16-bit ones. A code of 65535 skips as
many places and keeps none; there is at most one of them for every 65535 places of the tensor.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unskew.errors import ArtifactError, ConfigError
from unskew.files import atomic_folder, write_json
from unskew.hub.artifacts import (
    DELTA_FILE,
    MANIFEST,
    Manifest,
    check_fit,
    read_manifest,
    sibling_manifest,
    write_seen,
)
from unskew.models.deltas import AppliedDelta, SparseTensor, WeightDelta, base_digest, scaled
from unskew.models.load import DTYPES, LoadedModel
from unskew.models.logprobs import ScoringPath, collate
from unskew.types import Segment

FORMAT = "unskew_delta"
VERSION = 1
SKIP = 65535


def save_delta(
    delta: WeightDelta,
    base: Any,
    folder: Path,
    manifest: Manifest,
    seen: Iterable[str],
    *,
    dtype: str = "float32",
) -> None:
    """Write a delta with its manifest.

    Args:
        delta: The change.
        base: The model it belongs on, without it; remembered by the weights at the changed places.
        folder: Becomes the artefact.
        manifest: Where it comes from.
        seen: `digests` of what it was trained on or chosen by.
        dtype: Of the values. `float32` keeps them to the bit, 16 bits save a third.

    Raises:
        ConfigError: There is no such dtype.
        ArtifactError: The delta changes nothing, is not finite, or `base` is another model.
        StorageError: It could not be written; an earlier artefact is intact.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
    if not any(len(change.index) for change in delta.values()):
        raise ArtifactError("the delta changes no weight; there is nothing to save")
    tensors: dict[str, Tensor] = {}
    for name, change in delta.items():
        values = change.values.to(DTYPES[dtype])
        if not torch.isfinite(values).all():
            raise ArtifactError(f"the delta of {name} is not finite in {dtype}")
        tensors[f"{name}.gaps"] = torch.from_numpy(_to_gaps(change.index.numpy()))
        tensors[f"{name}.values"] = values.contiguous()
    header = {
        "version": VERSION,
        "shapes": {name: list(change.shape) for name, change in delta.items()},
        "base_sha256": base_digest(base, delta),
    }
    with atomic_folder(folder) as work:
        save_file(tensors, str(work / DELTA_FILE), metadata={FORMAT: json.dumps(header)})
        write_json(work / MANIFEST, asdict(manifest))
        write_seen(work, seen)


def is_delta(folder: Path) -> bool:
    """Whether a weight delta lies in a folder."""
    return (folder / DELTA_FILE).is_file()


def load_delta(folder: Path) -> WeightDelta:
    """Read a delta, its values in float32.

    Raises:
        ArtifactError: There is none, or it is damaged.
    """
    return _read(folder)[0]


def apply_saved_delta(loaded: LoadedModel, folder: Path) -> AppliedDelta:
    """Add a saved delta to a model in place; the result can undo it.

    Args:
        loaded: The base model.
        folder: Where `save_delta` wrote.

    Raises:
        ArtifactError: There is no delta, or it was made on another model, which includes the model
            that carries it already.
    """
    delta, header = _read_for(loaded, folder, any_base=False)
    if base_digest(loaded.model, delta) != header["base_sha256"]:
        raise ArtifactError(
            f"the weights of {loaded.name_or_path!r} that the delta in {folder} changes are not "
            "those it was made on; does the model carry it already, or is it of another precision?"
        )
    return AppliedDelta(loaded.model, delta)


def delta_for_sibling(loaded: LoadedModel, folder: Path) -> WeightDelta:
    """A saved delta that fits a model other than its base, in architecture and vocabulary.

    Args:
        loaded: The other model; it stays as it is.
        folder: Where `save_delta` wrote.

    Raises:
        ArtifactError: There is no delta, or it does not fit the model.
    """
    delta, _ = _read_for(loaded, folder, any_base=True)
    base_digest(loaded.model, delta)  # Refuses names and shapes that the model does not have.
    return delta


def save_carried_delta(
    delta: WeightDelta,
    loaded: LoadedModel,
    artifact: Path,
    folder: Path,
    seen: Iterable[str],
    *,
    strength: float,
) -> None:
    """Write a delta that belongs on another base than its own, with that base's name.

    Args:
        delta: As it was made.
        loaded: The other base, without the delta.
        artifact: Where the delta came from.
        folder: Becomes the delta of the other base.
        seen: `digests` of what it was trained on or chosen by.
        strength: Factor that is written into the values.
    """
    manifest = sibling_manifest(artifact, loaded)
    assert manifest is not None
    save_delta(scaled(delta, strength), loaded.model, folder, manifest, seen)


@torch.no_grad()
def delta_reload_difference(
    scoped: Any, loaded: LoadedModel, folder: Path, texts: Sequence[Segment]
) -> float:
    """Largest difference of a logit between a masked model in memory and its saved delta.

    The delta is put on the base weights beneath, so no second copy of the model is needed.

    Args:
        scoped: Model with a masked scope, as `kept_delta` left it.
        loaded: The base model it was made of, the same object beneath.
        folder: Where the delta was saved.
        texts: A few texts to compare on.
    """
    batch = collate(loaded.encoder.encode(texts), loaded.device)
    path = ScoringPath(scoped)
    ours = path.logits(path.states(batch))
    with scoped.disable_adapter():
        applied = apply_saved_delta(loaded, folder)
        theirs = path.logits(path.states(batch))
        applied.undo()
    return (ours - theirs).abs().max().item()


def _read_for(
    loaded: LoadedModel, folder: Path, *, any_base: bool
) -> tuple[WeightDelta, Mapping[str, Any]]:
    """The delta and its header, once manifest and model agree."""
    if not is_delta(folder):
        raise ArtifactError(f"no {DELTA_FILE} in {folder}; give a run's delta folder")
    if read_manifest(folder) is None:
        raise ArtifactError(
            f"no {MANIFEST} in {folder}, so its base is not known; save the delta again"
        )
    check_fit(loaded, folder, any_base=any_base)
    return _read(folder)


def _read(folder: Path) -> tuple[WeightDelta, Mapping[str, Any]]:
    path = folder / DELTA_FILE
    try:
        with safe_open(str(path), framework="pt") as stored:
            header = json.loads(stored.metadata()[FORMAT])
            if header["version"] != VERSION:
                raise ValueError(f"its version is {header['version']}, this one reads {VERSION}")
            delta = {
                name: _decoded(
                    tuple(shape),
                    stored.get_tensor(f"{name}.gaps"),
                    stored.get_tensor(f"{name}.values"),
                )
                for name, shape in header["shapes"].items()
            }
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}; save the delta again") from error
    return delta, header


def _decoded(shape: tuple[int, ...], gaps: Tensor, values: Tensor) -> SparseTensor:
    index = torch.from_numpy(_from_gaps(gaps.numpy()))
    places = int(np.prod(shape))
    if len(index) != len(values) or (len(index) and int(index[-1]) >= places):
        raise ValueError(
            f"{len(index)} places and {len(values)} values do not fill a tensor of {places}"
        )
    return SparseTensor(shape, index, values.float())


def _to_gaps(index: np.ndarray) -> np.ndarray:
    """Ascending places, int64, as uint16 codes."""
    skipped = np.diff(index, prepend=-1) - 1
    at = np.cumsum(skipped // SKIP + 1) - 1
    codes = np.full(at[-1] + 1 if len(at) else 0, SKIP, dtype=np.uint16)
    codes[at] = skipped % SKIP
    return codes


def _from_gaps(codes: np.ndarray) -> np.ndarray:
    is_kept = codes != SKIP
    ends = np.cumsum(codes.astype(np.int64) + is_kept)
    return ends[is_kept] - 1
