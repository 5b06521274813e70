"""Decoders on disk: `decoder.json`, its name and settings, beside the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unskew.errors import ArtifactError
from unskew.files import atomic_folder, write_json
from unskew.hub.artifacts import DECODER_FILE, MANIFEST, Manifest, check_fit, write_seen
from unskew.models.load import LoadedModel


def save_decoder(
    node: Mapping[str, Any], folder: Path, manifest: Manifest, seen: Iterable[str]
) -> None:
    """Write a decoder's name and settings.

    Args:
        node: `{"name": ..., setting: value, ..., "strength": factor}`.
        folder: Becomes the artefact.
        manifest: Where it comes from.
        seen: `digests` of what its strength was chosen by.

    Raises:
        StorageError: It could not be written; an earlier artefact is intact.
    """
    with atomic_folder(folder) as work:
        write_json(work / DECODER_FILE, dict(node))
        write_json(work / MANIFEST, asdict(manifest))
        write_seen(work, seen)


def is_decoder(folder: Path) -> bool:
    """Whether a folder holds a decoder."""
    return (folder / DECODER_FILE).is_file()


def read_decoder(loaded: LoadedModel, folder: Path) -> dict[str, Any]:
    """Name and settings of a decoder that was made for this model.

    Raises:
        ArtifactError: It cannot be read, or was made for another model.
    """
    path = folder / DECODER_FILE
    try:
        node = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}; run the recipe again") from error
    if not isinstance(node, dict) or not {"name", "strength"} <= node.keys():
        raise ArtifactError(f"{path} names no decoder with its strength; run the recipe again")
    check_fit(loaded, folder, any_base=False)
    return node


def refuse_decoder(folder: Path, what: str) -> None:
    """Refuse a decoder where weights are wanted.

    Args:
        folder: Of an artefact.
        what: What cannot be done with it, and what to do instead.

    Raises:
        ArtifactError: It holds a decoder.
    """
    if is_decoder(folder):
        raise ArtifactError(f"{folder} holds a decoder, which changes no weight; {what}")
