"""From a base model and what a run left to a model folder that plain transformers loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unskew.assemble import model_for, new_folder, world_for
from unskew.config import ModelConfig, checked
from unskew.data.neutral import neutral_documents
from unskew.errors import ConfigError
from unskew.hub.artifacts import (
    base_named_by,
    read_manifest,
    read_seen,
    save_artifact,
)
from unskew.hub.attach import attach
from unskew.hub.deltas import is_delta
from unskew.hub.merge import merged
from unskew.models.load import LoadedModel
from unskew.models.logprobs import ScoringPath, collate
from unskew.training.launch import is_main_process, start, wait_for_everyone
from unskew.types import Segment

COMPARED_TEXTS = 8


@dataclass(frozen=True, slots=True)
class Merged:
    """A model folder and how well it keeps to base and artefact."""

    folder: Path
    base_model: str
    max_logit_difference: float
    """Largest difference of a logit to the base model with the adapter on it, over a few neutral
    sentences: what rounding the sum to the weights' precision costs. 0 for a weight delta."""


def merge(
    artifact: str | Path,
    model: str | None = None,
    *,
    output_dir: str | Path,
    model_options: Mapping[str, Any] | None = None,
) -> Merged:
    """Bake an adapter or weight delta into its base model and write the result as a model folder.

    Args:
        artifact: Folder of an adapter or weight delta.
        model: Its base model: hub id, folder, or `world`; the one that the artefact names if None.
        output_dir: A new folder; becomes config, safetensors weights and tokenizer, with the
            artefact's manifest and the digests of what it was trained on.
        model_options: Further fields of `ModelConfig`: dtype, revision, ...

    Raises:
        ArtifactError: There is no artefact, it was made on another model, or it changes a weight
            that the model uses twice.
        ConfigError: `output_dir` holds something already.
    """
    start(0)
    target, source = new_folder(output_dir), Path(artifact)
    name = model or base_named_by(source)
    if name is None:
        raise ConfigError(f"{source} does not name its base model; give it with --model")
    config = checked(ModelConfig, {"name_or_path": name, **(model_options or {})})
    loaded = model_for(config, world_for(name, ""), keep_dropout=True)
    policy = attach(loaded, source)
    before = _logits(policy, loaded)
    result = policy if is_delta(source) else merged(policy)
    difference = (_logits(result, loaded) - before).abs().max().item()
    if is_main_process():
        save_artifact(result, loaded.tokenizer, target, read_manifest(source), read_seen(source))
    wait_for_everyone()
    return Merged(target, name, difference)


@torch.no_grad()
def _logits(model: Any, loaded: LoadedModel) -> torch.Tensor:
    texts = [Segment(d.text) for d in neutral_documents()[:COMPARED_TEXTS]]
    path = ScoringPath(model)
    return path.logits(path.states(collate(loaded.encoder.encode(texts), loaded.device)))
