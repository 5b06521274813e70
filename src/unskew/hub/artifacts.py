"""What a run leaves to be used: an adapter in PEFT's format, or a model folder, with a manifest."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open

from unskew.data.completion import normalise
from unskew.errors import ArtifactError
from unskew.files import atomic_folder, write_json, write_text
from unskew.models.load import LoadedModel, fingerprint
from unskew.models.sites import text_model_type
from unskew.types import Pair

MANIFEST = "method.json"
SEEN = "trained_on.txt"
ADAPTER_CONFIG = "adapter_config.json"
CARD = "README.md"
DECODER_FILE = "decoder.json"
DELTA_FILE = "delta.safetensors"


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


def digests(pairs: Iterable[Pair]) -> set[str]:
    """Short hashes of the sentences of pairs, up to case, punctuation and spacing."""
    texts = (normalise(text) for p in pairs for text in (p.stereotype, p.anti_stereotype))
    return {hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts}


def save_artifact(
    model: Any, tokenizer: Any, folder: Path, manifest: Manifest | None, seen: Iterable[str]
) -> None:
    """Write an adapter, or the whole model where no adapter carries the change.

    Args:
        model: A PEFT model, or a plain one.
        tokenizer: Saved beside a whole model.
        folder: Becomes the artefact.
        manifest: Where it comes from; None for an adapter that unskew did not make.
        seen: `digests` of what it was trained on or chosen by, so that no evaluation takes them.

    Raises:
        StorageError: It could not be written; an earlier artefact is intact.
    """
    with atomic_folder(folder) as work:
        if hasattr(model, "peft_config"):
            # Told not to save embeddings, PEFT does not ask the hub whether they were resized.
            model.save_pretrained(str(work), save_embedding_layers=False)
            (work / CARD).unlink(missing_ok=True)
        else:
            model.save_pretrained(str(work))
            tokenizer.save_pretrained(str(work))
        if manifest is not None:
            write_json(work / MANIFEST, asdict(manifest))
        write_seen(work, seen)


def write_seen(folder: Path, seen: Iterable[str]) -> None:
    """Write the list that `read_seen` reads."""
    write_text(folder / SEEN, "".join(f"{digest}\n" for digest in sorted(seen)))


def read_seen(folder: Path) -> set[str]:
    """Digests of what an artefact was trained on; empty where unskew did not write it.

    Raises:
        ArtifactError: The list is there but cannot be read.
    """
    path = folder / SEEN
    try:
        return set(path.read_text(encoding="utf-8").split()) if path.is_file() else set()
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}; save the artefact again") from error


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


def base_named_by(folder: Path) -> str | None:
    """Hub id or path of the model an artefact was made on; None where it names none."""
    manifest = read_manifest(folder)
    if manifest is not None:
        return manifest.base_model
    if not (folder / ADAPTER_CONFIG).is_file():
        return None
    return PeftConfig.from_pretrained(str(folder)).base_model_name_or_path or None


def content_sha256(folder: Path) -> str:
    """Hash of an artefact's files, name and content, but for its card: of what it does.

    Raises:
        ArtifactError: There is none.
    """
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != CARD)
    if not files:
        raise ArtifactError(f"{folder} holds no artefact; give a run's adapter or delta folder")
    found = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
        found.update(f"{file.relative_to(folder).as_posix()} {digest.hexdigest()}\n".encode())
    return found.hexdigest()


def scale_adapter(model: Any, scale: float) -> None:
    """Multiply what a LoRA adapter adds, in the model and in what `save_carried` will write."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.scaling["default"] *= scale
    model.peft_config["default"].lora_alpha *= scale


def sibling_manifest(artifact: Path, loaded: LoadedModel) -> Manifest | None:
    """The manifest of an artefact with another model as its base; None where it has none.

    Args:
        artifact: Folder of the artefact.
        loaded: The other model, without the artefact.
    """
    manifest = read_manifest(artifact)
    if manifest is None:
        return None
    return replace(
        manifest, base_model=loaded.name_or_path, base_fingerprint=fingerprint(loaded.model)
    )


def save_carried(
    model: Any, loaded: LoadedModel, artifact: Path, folder: Path, seen: Iterable[str]
) -> None:
    """Write an adapter that was put on another base than its own, with that base's name.

    Args:
        model: The other base with the adapter on it.
        loaded: The other base.
        artifact: Where the adapter came from.
        folder: Becomes the adapter of the other base.
        seen: `digests` of what it was trained on or chosen by.
    """
    model.peft_config["default"].base_model_name_or_path = loaded.name_or_path
    manifest = sibling_manifest(artifact, loaded)
    save_artifact(model, loaded.tokenizer, folder, manifest, seen)


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
    weights = folder / "adapter_model.safetensors"
    if not (folder / ADAPTER_CONFIG).is_file():
        raise ArtifactError(f"no adapter_config.json in {folder}; give a run's adapter folder")
    if not weights.is_file():
        raise ArtifactError(
            f"no adapter_model.safetensors in {folder}; pickled weights are not read"
        )
    check_fit(loaded, folder, any_base=any_base)
    try:
        with safe_open(str(weights), framework="pt") as stored:
            names = set(stored.keys())
        with warnings.catch_warnings():
            # Of tensors that are missing, which are refused below.
            warnings.filterwarnings("ignore", message="Found missing adapter keys")
            model: Any = PeftModel.from_pretrained(loaded.model, str(folder))
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtifactError(
            f"the adapter in {folder} cannot be put on {loaded.name_or_path!r}: {first}"
        ) from error
    if odd := sorted(names ^ get_peft_model_state_dict(model, save_embedding_layers=False).keys()):
        raise ArtifactError(
            f"the adapter in {folder} does not fit {loaded.name_or_path!r}: {len(odd)} tensors "
            f"are on one side only, first {odd[0]}; save the adapter again"
        )
    return model.eval()


def check_fit(loaded: LoadedModel, folder: Path, *, any_base: bool) -> None:
    """Refuse an artefact made on another model, or on another architecture when transferring.

    Raises:
        ArtifactError: It does not fit, with what differs.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        base = base_named_by(folder)
        if not any_base and base and base != loaded.name_or_path:
            raise ArtifactError(
                f"the adapter in {folder} was made on {base!r}, not on {loaded.name_or_path!r}; "
                "use unskew transfer to carry it over"
            )
        return
    model_type = text_model_type(loaded.model)
    marks = {
        ADAPTER_CONFIG: "adapter",
        "projection.json": "projection",
        DECODER_FILE: "decoder",
        DELTA_FILE: "delta",
    }
    kind = next((k for file, k in marks.items() if (folder / file).is_file()), "model")
    if manifest.model_type != model_type:
        raise ArtifactError(
            f"the {kind} in {folder} is for model type {manifest.model_type!r}, "
            f"{loaded.name_or_path!r} is {model_type!r}"
        )
    if manifest.tokenizer_fingerprint != loaded.encoder.fingerprint():
        raise ArtifactError(
            f"{loaded.name_or_path!r} has another vocabulary than the model behind {folder}; "
            "its weights cannot be carried over"
        )
    is_fixed = kind in ("decoder", "model")
    if not any_base and manifest.base_fingerprint != fingerprint(loaded.model):
        raise ArtifactError(
            f"{loaded.name_or_path!r} is not the model the {kind} in {folder} was made on "
            f"({manifest.base_model!r}); "
            f"{'name that one' if is_fixed else 'use unskew transfer to carry it over'}"
        )
