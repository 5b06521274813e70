"""Projections of hidden states on disk: their factors, and a hash of them beside the site."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from unskew.errors import ArtifactError
from unskew.files import atomic_folder, write_json
from unskew.hub.artifacts import (
    MANIFEST,
    Manifest,
    check_fit,
    read_manifest,
    sibling_manifest,
    write_seen,
)
from unskew.models.load import LoadedModel
from unskew.models.projections import AttachedProjection, Site
from unskew.protocols import Erasure

TENSORS, HEADER = "projection.safetensors", "projection.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class StoredProjection:
    """What lies in a folder."""

    erasure: Erasure
    site: Site


def save_projection(
    stored: StoredProjection, folder: Path, manifest: Manifest, seen: Iterable[str]
) -> None:
    """Write a projection with its manifest.

    Args:
        stored: The map and where it acts.
        folder: Becomes the artefact.
        manifest: Where it comes from, with hashes of the base model and of all settings.
        seen: `digests` of what it was fitted on or chosen by.

    Raises:
        ArtifactError: The map is not finite.
        StorageError: It could not be written; an earlier artefact is intact.
    """
    erasure = stored.erasure
    tensors = {"mean": erasure.mean, "left": erasure.left, "right": erasure.right}
    if not all(torch.isfinite(t).all() for t in tensors.values()):
        raise ArtifactError("the projection is not finite; load the model in float32")
    content = save({name: t.contiguous() for name, t in tensors.items()})
    header = {"version": VERSION, "site": stored.site, "rank": erasure.left.shape[1]}
    with atomic_folder(folder) as work:
        (work / TENSORS).write_bytes(content)
        write_json(work / HEADER, {**header, "sha256": hashlib.sha256(content).hexdigest()})
        write_json(work / MANIFEST, asdict(manifest))
        write_seen(work, seen)


def is_projection(folder: Path) -> bool:
    """Whether a projection lies in a folder."""
    return (folder / HEADER).is_file()


def load_projection(folder: Path) -> StoredProjection:
    """Read a projection.

    Raises:
        ArtifactError: There is none, it is damaged, or its tensors are not those of its header.
    """
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        if header["version"] != VERSION:
            raise ValueError(f"its version is {header['version']}, this one reads {VERSION}")
        content = (folder / TENSORS).read_bytes()
        if hashlib.sha256(content).hexdigest() != header["sha256"]:
            raise ValueError(f"{TENSORS} is not the one that {HEADER} was written with")
        return StoredProjection(Erasure(**load(content)), header["site"])
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise ArtifactError(
            f"the projection in {folder} cannot be read: {error}; make it again"
        ) from error


def attach_projection(
    loaded: LoadedModel, folder: Path, *, any_base: bool = False, scale: float = 1.0
) -> AttachedProjection:
    """Put a saved projection on a model.

    Args:
        loaded: The base model; it computes the projected states afterwards.
        folder: Where `save_projection` wrote.
        any_base: Accept a base other than the one it was made on (transfer).
        scale: Factor on how far it goes.

    Raises:
        ArtifactError: It is damaged, has no manifest, or was made on another model.
    """
    if read_manifest(folder) is None:
        raise ArtifactError(f"no {MANIFEST} in {folder}, so its base is not known; make it again")
    check_fit(loaded, folder, any_base=any_base)
    stored = load_projection(folder)
    return AttachedProjection(loaded.model, stored.erasure, stored.site, scale)


def save_carried_projection(
    attached: AttachedProjection,
    loaded: LoadedModel,
    artifact: Path,
    folder: Path,
    seen: Iterable[str],
) -> None:
    """Write a projection that was put on another base than its own, with that base's name.

    Args:
        attached: On the other base; its strength is written into the map.
        loaded: The other base.
        artifact: Where the projection came from.
        folder: Becomes the projection of the other base.
        seen: `digests` of what it was fitted on or chosen by.
    """
    manifest = sibling_manifest(artifact, loaded)
    assert manifest is not None
    save_projection(StoredProjection(attached.settled, attached.site), folder, manifest, seen)
