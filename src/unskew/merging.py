"""From a base model and what a run left to a model folder that plain transformers loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unskew.assemble import build, model_for
from unskew.config import checked
from unskew.data.neutral import neutral_documents
from unskew.edits import EDITS
from unskew.errors import ConfigError
from unskew.hub.artifacts import (
    base_named_by,
    read_manifest,
    read_seen,
    save_artifact,
)
from unskew.hub.attach import attach
from unskew.hub.changes import changes_in
from unskew.hub.decoders import refuse_decoder
from unskew.hub.deltas import is_delta
from unskew.hub.lora_svd import lora_svd
from unskew.hub.merge import merged
from unskew.hub.projections import is_projection
from unskew.models.deltas import AppliedDelta, WeightDelta, combined, sparse
from unskew.models.load import LoadedModel
from unskew.models.logprobs import ScoringPath, collate
from unskew.models.projections import fold
from unskew.output import new_folder
from unskew.schema import ModelConfig
from unskew.training.launch import is_main_process, start, wait_for_everyone
from unskew.types import Segment
from unskew.worlds import world_for

COMPARED_TEXTS = 8


@dataclass(frozen=True, slots=True)
class Merged:
    """A model folder and how well it keeps to base and artefact."""

    folder: Path
    base_model: str
    max_logit_difference: float
    """Largest difference of a logit to the base model with the adapter on it, over a few neutral
    sentences: what rounding the sum to the weights' precision costs. 0 for a weight delta, and
    after an edit, where the sum is what the model is."""
    relative_error: float | None = None
    """Frobenius norm of what an adapter's rank leaves out of the change, over that of the change;
    None for a model folder."""


def merge(
    artifact: str | Path | Sequence[str | Path],
    model: str | None = None,
    *,
    output_dir: str | Path,
    edit: Mapping[str, Any] | None = None,
    lora_rank: int | None = None,
    model_options: Mapping[str, Any] | None = None,
) -> Merged:
    """Bake what a run left into its base model and write the result as a model folder.

    Args:
        artifact: Folder of an adapter, weight delta or projection; with `edit` also several deltas
            or adapters, of one base.
        model: Its base model: hub id, folder, or a world's name; that of the artefact if None.
        output_dir: A new folder; becomes config, safetensors weights and tokenizer, with the
            artefact's manifest and the digests of what it was trained on.
        edit: What to do with the deltas before they are added, e.g. `{"name": "negation", "gamma":
            0.5}` or `{"name": "ties", "density": 0.2}`; each is held in memory whole.
        lora_rank: Write the whole change as a LoRA adapter of this rank instead of a model folder,
            as near as the rank allows: a masked change is of high rank, so read the error.
        model_options: Further fields of `ModelConfig`: dtype, revision, ...

    Raises:
        ArtifactError: There is no artefact, it was made on another model, it is a decoder, it
            changes a weight that the model uses twice, or it is a projection that no head holds.
        ConfigError: `output_dir` holds something already, the edit is unknown or cannot take the
            deltas, or there are several deltas and no edit.
    """
    start(0)
    sources = [Path(a) for a in ([artifact] if isinstance(artifact, str | Path) else artifact)]
    if edit is None and len(sources) != 1:
        raise ConfigError(
            f"{len(sources)} artefacts are named; say how they are combined with --edit, e.g. "
            "'{name: linear}'"
        )
    for folder in sources:
        refuse_decoder(
            folder, "use the model itself, and name the folder with unskew evaluate --adapter"
        )
    arithmetic = None if edit is None else build(EDITS, edit, "edit")
    target, source = new_folder(output_dir), sources[0]
    name = model or base_named_by(source)
    if name is None:
        raise ConfigError(f"{source} does not name its base model; give it with --model")
    config = checked(ModelConfig, {"name_or_path": name, **(model_options or {})})
    loaded = model_for(config, world_for(name), keep_dropout=True)
    manifest = read_manifest(source)
    difference, error = 0.0, None
    if arithmetic is None and lora_rank is None:
        policy = attach(loaded, source)
        before = _logits(policy, loaded)
        result = _baked(policy, source)
        difference = (_logits(result, loaded) - before).abs().max().item()
    else:
        delta = _combined(loaded, sources, arithmetic)
        result, error = _carrying(loaded, delta, lora_rank)
        said = [str(dict(edit))] if edit else []
        said += [] if error is None else [f"LoRA rank {lora_rank}, relative error {error:.3g}"]
        manifest = manifest and replace(manifest, recipe=", ".join((manifest.recipe, *said)))
    seen = {digest for folder in sources for digest in read_seen(folder)}
    if is_main_process():
        save_artifact(result, loaded.tokenizer, target, manifest, seen)
    wait_for_everyone()
    return Merged(target, name, difference, error)


def _combined(loaded: LoadedModel, sources: Sequence[Path], arithmetic: Any) -> WeightDelta:
    changes = [changes_in(loaded, folder) for folder in sources]
    if arithmetic is None:
        return {name: sparse(change) for name, change in changes[0].items()}
    return combined(arithmetic.combine, changes)


def _carrying(
    loaded: LoadedModel, delta: WeightDelta, lora_rank: int | None
) -> tuple[Any, float | None]:
    """The model with the change in its weights, or as an adapter and what that leaves out."""
    if lora_rank is None:
        AppliedDelta(loaded.model, delta)
        return loaded.model, None
    low = lora_svd(loaded.model, delta, lora_rank)
    return low.model, low.relative_error


def _baked(policy: Any, source: Path) -> Any:
    if is_delta(source):
        return policy
    return fold(policy.projection) if is_projection(source) else merged(policy)


@torch.no_grad()
def _logits(model: Any, loaded: LoadedModel) -> torch.Tensor:
    texts = [Segment(d.text) for d in neutral_documents()[:COMPARED_TEXTS]]
    path = ScoringPath(model)
    return path.logits(path.states(collate(loaded.encoder.encode(texts), loaded.device)))
