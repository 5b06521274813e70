"""Carrying what a run left to a sibling of its base model, and measuring what it does there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Literal

from unskew import recording
from unskew.assemble import choice_for, model_for, oracle_reference, world_for
from unskew.benchmarks import BENCHMARKS
from unskew.config import checked
from unskew.datasource import DataSource
from unskew.errors import ConfigError
from unskew.hub.artifacts import digests, read_seen
from unskew.hub.carry import Carried, carry
from unskew.hub.decoders import refuse_decoder
from unskew.measuring import Measuring, not_measured
from unskew.models.logprobs import ScoringPath
from unskew.models.tokens import Encoder
from unskew.output import new_folder
from unskew.reports.record import RunRecord
from unskew.schema import ChoiceConfig, EvaluationConfig, FloorConfig, ModelConfig
from unskew.scoring import BASE, command_words, publish
from unskew.stages.strength import StrengthSearch
from unskew.training.launch import is_main_process
from unskew.training.launch import start as start_processes
from unskew.types import Dataset

BEFORE, AFTER, STAGE = "before", "after", "transfer"
CHOSEN_BY = "stereoset"
STRENGTHS, REFINE = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0), 2
CHOICE = ChoiceConfig(
    window=1.0,
    over="average",
    floors=[
        FloorConfig(benchmark="stereoset", metric="lms", max_loss=2.0),
        FloorConfig(benchmark="perplexity", metric="perplexity", max_loss=0.05, relative=True),
        FloorConfig(benchmark="reasoning", metric="accuracy", max_loss=1.5),
    ],
)
"""How `--scale auto` chooses: as the recipes do that look for a strength without training."""


def transfer(
    artifact: str | Path,
    model: str,
    data: str | DataSource,
    *,
    output_dir: str | Path,
    scale: float | Literal["auto"] = 1.0,
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
        scale: Factor on the artefact, > 0. `auto` chooses it on the select split of the data, least
            bias subject to `CHOICE`'s floors; the report split then has no part in it.
        model_options: Further fields of `ModelConfig`.
        seed: Of bootstrap and sampling.

    Raises:
        ArtifactError: The artefact does not fit the sibling, or has no factor to change.
        ConfigError: scale is not positive, or there are no pairs to choose it by.

    Source: BiasUnlearn, arXiv 2509.25673, Table 3.
    """
    if scale != "auto" and not 0 < scale < math.inf:
        raise ConfigError(
            f"scale is {scale}; it must be positive (1 carries the weights over whole)"
        )
    config = checked(ModelConfig, {"name_or_path": model, **(model_options or {})})
    start_processes(seed)
    folder, artifact = new_folder(output_dir), Path(artifact)
    refuse_decoder(artifact, "run its recipe on the other model, for its own strength")
    source = DataSource(data) if isinstance(data, str) else data
    world = world_for(model, source.name_or_path)
    dataset = _data(source, artifact, model, selects=scale == "auto")
    measuring = Measuring(dataset, EvaluationConfig(), seed)
    loaded = model_for(config, world)
    info = recording.model_info(loaded)
    carried = carry(loaded, artifact)
    # Tried on first, so that what does not fit costs no evaluation.
    carried.apply(STRENGTHS[0] if scale == "auto" else scale)()
    path = ScoringPath(carried.model)
    with carried.off():
        rows = measuring.report(BEFORE, path, loaded.encoder, {}, folder)
    references = {BASE: carried.reference, **oracle_reference(world)}
    fields, seen = {}, read_seen(artifact)
    if scale == "auto":
        search = _searched(carried, measuring, loaded.encoder)
        strength, fields = search.strengths[search.best], _chosen(search, dataset, seen)
        seen |= digests(dataset.splits["select"].pairs)
    else:
        strength = scale
    with carried.at(strength):
        rows += measuring.report(AFTER, path, loaded.encoder, references, folder)
    if strength and is_main_process():
        carried.save(strength, folder, seen)
    command = command_words("transfer", source, seed, model=config, artifact=artifact, scale=scale)
    missing = not_measured(rows)
    record = recording.scoring(command, dataset, seed, rows=rows, not_measured=missing, model=info)
    return publish(record.model_copy(update=fields), folder)


def _data(source: DataSource, *learners: str | Path, selects: bool) -> Dataset:
    """What to report on, and the pairs by which the strength is chosen."""
    dataset = source.load(*learners, selects=selects)
    if selects and not BENCHMARKS.load(CHOSEN_BY).serves(dataset.splits["select"]):
        raise ConfigError(
            f"scale auto goes by {CHOSEN_BY}, which has nothing to ask of {source.name_or_path}; "
            "name other data, or a number"
        )
    return dataset


def _searched(carried: Carried, measuring: Measuring, encoder: Encoder) -> StrengthSearch:
    path = ScoringPath(carried.model)
    evaluate = measuring.selector(path, encoder, {BASE: carried.reference})
    with carried.at(0.0):
        search = StrengthSearch.begin(carried.model, carried.apply, evaluate, choice_for(CHOICE))
    search.run(STRENGTHS, REFINE)
    return search


def _chosen(search: StrengthSearch, dataset: Dataset, seen: Set[str]) -> dict[str, Any]:
    """What the record says of the choice, and of pairs that the artefact may know too well."""
    fields = search.fields(STAGE)
    pairs = dataset.splits["select"].pairs
    num_seen = sum(bool(digests([pair]) & seen) for pair in pairs)
    # All of them where its run had the same split: it was chosen by them, as the strength is now.
    if 0 < num_seen < len(pairs):
        fields["warnings"] += [
            f"the artefact saw {num_seen} of {len(pairs)} pairs of the select split, so its run "
            "was split otherwise; it may look stronger on those than it is"
        ]
    return {name: fields[name] for name in ("history", "checkpoint", "warnings")}
