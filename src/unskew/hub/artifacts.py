"""What a run leaves to be used: an adapter in PEFT's format, or a model folder, with a manifest."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel

from unskew.errors import ArtifactError
from unskew.files import atomic_folder, write_json
from unskew.models.load import LoadedModel, fingerprint
from unskew.models.sites import text_model_type

MANIFEST = "method.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where an artefact comes from."""

    recipe: str
    unskew_version: str
    config_sha256: str
    seed: int
    step: int
    base_model: str
    base_fingerprint: str
    model_type: str
    tokenizer_fingerprint: str
    data_sha256: str
    splits: dict[str, float]
    """How the data was cut, so that an evaluation on it can keep to the report split."""


def save_artifact(model: Any, tokenizer: Any, folder: Path, manifest: Manifest) -> None:
    """Write an adapter, or the whole model where no adapter carries the change.

    Raises:
        StorageError: It could not be written; an earlier artefact is intact.
    """
    with atomic_folder(folder) as work:
        model.save_pretrained(str(work))
        (work / "README.md").unlink(missing_ok=True)
        if not hasattr(model, "peft_config"):
            tokenizer.save_pretrained(str(work))
        write_json(work / MANIFEST, asdict(manifest))


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest, or None for an adapter that unskew did not write.

    Raises:
        ArtifactError: It is there but cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}; save the artefact again") from error


def attach_adapter(loaded: LoadedModel, folder: str | Path, *, any_base: bool = False) -> Any:
    """Put a saved adapter on a model; returns the PEFT model in eval mode.

    Args:
        loaded: The base model.
        folder: Folder with adapter_config.json and adapter_model.safetensors.
        any_base: Accept a base other than the one the adapter was made on (transfer).

    Raises:
        ArtifactError: No adapter there, or it does not fit the model.
    """
    folder = Path(folder)
    if not (folder / "adapter_config.json").is_file():
        raise ArtifactError(f"no adapter_config.json in {folder}; give a run's adapter folder")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ArtifactError(
            f"no adapter_model.safetensors in {folder}; pickled weights are not read"
        )
    check_fit(loaded, folder, any_base=any_base)
    try:
        model = PeftModel.from_pretrained(loaded.model, str(folder))
    except (RuntimeError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ArtifactError(
            f"the adapter in {folder} does not fit {loaded.name_or_path}: {first}"
        ) from error
    return model.eval()


def check_fit(loaded: LoadedModel, folder: Path, *, any_base: bool) -> None:
    """Refuse an adapter made on another model, or on another architecture when transferring.

    Raises:
        ArtifactError: It does not fit, with what differs.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        base = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
        if not any_base and base and base != loaded.name_or_path:
            raise ArtifactError(
                f"the adapter in {folder} was made on {base!r}, not on {loaded.name_or_path!r}; "
                "use unskew transfer to carry it over"
            )
        return
    model_type = text_model_type(loaded.model)
    if manifest.model_type != model_type:
        raise ArtifactError(
            f"the adapter in {folder} is for model type {manifest.model_type!r}, "
            f"{loaded.name_or_path!r} is {model_type!r}"
        )
    if manifest.tokenizer_fingerprint != loaded.encoder.fingerprint():
        raise ArtifactError(
            f"{loaded.name_or_path!r} has another vocabulary than the model behind {folder}; "
            "its weights cannot be carried over"
        )
    if not any_base and manifest.base_fingerprint != fingerprint(loaded.model):
        raise ArtifactError(
            f"{loaded.name_or_path!r} is not the model the adapter in {folder} was made on "
            f"({manifest.base_model!r}); use unskew transfer to carry it over"
        )
