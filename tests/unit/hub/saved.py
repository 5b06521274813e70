"""A model folder and a manifest, as the tests of artefacts need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fixtures import word_tokenizer
from unskew.hub.artifacts import Manifest
from unskew.models.load import LoadedModel, fingerprint


def folder_of(model: Any, folder: Path) -> Path:
    """The model and the word tokenizer in a folder."""
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def manifest(origin: LoadedModel, **changes: Any) -> Manifest:
    """Of an artefact made on a loaded model."""
    values = {
        "recipe": "r",
        "unskew_version": "0",
        "config_sha256": "c",
        "seed": 0,
        "step": 3,
        "base_model": origin.name_or_path,
        "base_fingerprint": fingerprint(origin.model),
        "model_type": origin.model.config.model_type,
        "tokenizer_fingerprint": origin.encoder.fingerprint(),
        "data_sha256": "d",
    }
    return Manifest(**{**values, **changes})
