"""Carrying what a run left to a sibling of its base model, and measuring what it does there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unskew import recording
from unskew.assemble import model_for, oracle_reference, world_for
from unskew.config import checked
from unskew.datasource import DataSource
from unskew.errors import ConfigError
from unskew.hub.artifacts import read_seen
from unskew.hub.carry import carry
from unskew.hub.decoders import refuse_decoder
from unskew.measuring import Measuring, not_measured
from unskew.models.logprobs import ScoringPath
from unskew.output import new_folder
from unskew.reports.record import RunRecord
from unskew.schema import EvaluationConfig, ModelConfig
from unskew.scoring import BASE, command_words, publish
from unskew.training.launch import is_main_process
from unskew.training.launch import start as start_processes

BEFORE, AFTER = "before", "after"


def transfer(
    artifact: str | Path,
    model: str,
    data: str | DataSource,
    *,
    output_dir: str | Path,
    scale: float = 1.0,
    model_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> RunRecord:
    """Carry an artefact to another checkpoint of the family; measure before and after.

    The debiasing weights are added to the sibling as they are, `W_sibling + scale (alpha / r) B A`
    of an adapter and `W_sibling + scale delta` of a weight delta. A projection acts on the
    sibling's hidden states as it did on its own base's. The output folder holds the sibling's own
    `adapter/`, `delta/` or `projection/`.

    Args:
        artifact: Folder of an adapter, weight delta or projection.
        model: The sibling: hub id or folder.
        data: Where the pairs are.
        output_dir: A new folder.
        scale: Factor on the artefact, > 0.
        model_options: Further fields of `ModelConfig`.
        seed: Of bootstrap and sampling.

    Raises:
        ArtifactError: The artefact does not fit the sibling, or has no factor to change.
        ConfigError: scale is not positive.

    Source: BiasUnlearn, arXiv 2509.25673, Table 3.
    """
    if not (scale > 0 and math.isfinite(scale)):
        raise ConfigError(
            f"scale is {scale}; it must be positive (1 carries the weights over whole)"
        )
    config = checked(ModelConfig, {"name_or_path": model, **(model_options or {})})
    start_processes(seed)
    folder, artifact = new_folder(output_dir), Path(artifact)
    refuse_decoder(artifact, "run its recipe on the other model, for its own strength")
    source = DataSource(data) if isinstance(data, str) else data
    world = world_for(model, source.name_or_path)
    dataset = source.load(artifact, model)
    measuring = Measuring(dataset, EvaluationConfig(), seed)
    loaded = model_for(config, world)
    info = recording.model_info(loaded)
    carried = carry(loaded, artifact)
    # Tried on first, so that what does not fit costs no evaluation.
    carried.apply(scale)()
    path = ScoringPath(carried.model)
    with carried.off():
        rows = measuring.report(BEFORE, path, loaded.encoder, {}, folder)
    references = {BASE: carried.reference, **oracle_reference(world)}
    with carried.at(scale):
        rows += measuring.report(AFTER, path, loaded.encoder, references, folder)
    if is_main_process():
        carried.save(scale, folder, read_seen(artifact))
    command = command_words("transfer", source, seed, model=config, artifact=artifact, scale=scale)
    missing = not_measured(rows)
    record = recording.scoring(command, dataset, seed, rows=rows, not_measured=missing, model=info)
    return publish(record, folder)
