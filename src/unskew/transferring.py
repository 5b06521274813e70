"""Carrying what a run left to a sibling of its base model, and measuring what it does there."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from unskew import recording
from unskew.assemble import choice_for, model_for
from unskew.benchmarks import BENCHMARKS
from unskew.comparison.origin import OriginalRun, kept_of, original_of
from unskew.config import checked, parse
from unskew.datasource import DataSource, RunData
from unskew.errors import ConfigError, UnskewError
from unskew.evaluation.processes import by_first
from unskew.hub.artifacts import (
    base_named_by,
    content_sha256,
    digests,
    read_seen,
)
from unskew.hub.carry import Carried, carry
from unskew.hub.decoders import refuse_decoder
from unskew.hub.distance import base_of, relative_distance
from unskew.measuring import Measuring, not_measured
from unskew.models.logprobs import ScoringPath
from unskew.models.tokens import Encoder
from unskew.output import new_folder
from unskew.pipeline import CONFIG
from unskew.recipes import read_yaml
from unskew.reports.record import NotMeasured, RunRecord
from unskew.reports.transfer_record import Distance, Transfer
from unskew.schema import ChoiceConfig, EvaluationConfig, FloorConfig, ModelConfig
from unskew.scoring import BASE, command_words, publish
from unskew.stages.strength import StrengthSearch
from unskew.training.launch import is_main_process
from unskew.training.launch import start as start_processes
from unskew.types import Dataset
from unskew.worlds import oracle_reference, world_for

BEFORE, AFTER, STAGE = "before", "after", "transfer"
CHOSEN_BY = "stereoset"
STRENGTHS, REFINE = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0), 2
UNRELATED = 1.0
"""Relative distance of weights from which on they have nothing in common: independent ones of one
size are the square root of 2 apart, what was trained further a few hundredths to tenths."""
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


def transfer(  # noqa: PLR0913 - one parameter for each option
    artifact: str | Path,
    model: str,
    data: str | DataSource | None = None,
    *,
    output_dir: str | Path,
    like: str | Path | None = None,
    scale: float | Literal["auto"] = 1.0,
    original_run: str | Path | None = None,
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
        data: Where the pairs are; what the artefact has not seen of them is reported on.
        output_dir: A new folder.
        like: In place of `data`: folder of a run whose data, report split and settings of
            evaluation are taken, so that its numbers and these stand side by side.
        scale: Factor on the artefact, > 0. `auto` chooses it on the select split of the data, least
            bias subject to `CHOICE`'s floors; the report split then has no part in it.
        original_run: Folder of the run that made the artefact, against whose effect the one on the
            sibling is held; by default the folder that the artefact lies in.
        model_options: Further fields of `ModelConfig`.
        seed: Of bootstrap and sampling.

    Raises:
        ArtifactError: The artefact does not fit the sibling, or has no factor to change.
        ConfigError: scale is not positive, there are no pairs to choose it by, `original_run`
            made another artefact, or not one of `data` and `like` is given.
        DataError: `original_run` has no record that can be read.

    Source: BiasUnlearn, arXiv 2509.25673, Table 3.
    """
    if scale != "auto" and not 0 < scale < math.inf:
        raise ConfigError(
            f"scale is {scale}; it must be positive (1 carries the weights over whole)"
        )
    config = checked(ModelConfig, {"name_or_path": model, **(model_options or {})})
    source, evaluation = _measured(data, like)
    start_processes(seed)
    folder, artifact = new_folder(output_dir), Path(artifact)
    refuse_decoder(artifact, "run its recipe on the other model, for its own strength")
    original = original_of(artifact, original_run)
    world = world_for(model, source.name_or_path)
    dataset = _data(source, artifact, model, selects=scale == "auto")
    measuring = Measuring(dataset, evaluation, seed)
    loaded = model_for(config, world)
    info = recording.model_info(loaded)
    carried = carry(loaded, artifact)
    # Tried on first, so that what does not fit costs no evaluation.
    carried.apply(STRENGTHS[0] if scale == "auto" else scale)()
    made_on = original.record.model if isinstance(original, OriginalRun) else None
    distance, untold = _distance(carried, artifact, dtype=(made_on or info).dtype)
    path = ScoringPath(carried.model)
    with carried.off():
        rows = measuring.report(BEFORE, path, loaded.encoder, {}, folder)
    references = {BASE: carried.reference, **oracle_reference(world)}
    fields: dict[str, Any] = {}
    seen = read_seen(artifact)
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
    options = {"artifact": artifact, "scale": scale, "original-run": original_run, "like": like}
    given = source if isinstance(source, DataSource) else None
    command = command_words("transfer", given, seed, model=config, **options)
    missing = [*not_measured(rows), *untold]
    record = recording.scoring(
        command,
        dataset,
        seed,
        rows=rows,
        not_measured=missing,
        model=info,
        benchmark_data=measuring.own_data(),
    )
    kept, unkept = by_first(lambda: kept_of((folder, record), original, seed=seed))
    told = Transfer(
        artifact=str(artifact),
        base_model=base_named_by(artifact),
        strength=strength,
        distance=distance,
        original_run=str(original.folder) if isinstance(original, OriginalRun) else None,
        kept=kept,
    )
    fields["transfer"] = told
    fields["generations"] = recording.sampled_texts(folder)
    fields["peak_memory_bytes"] = recording.peak_memory_bytes()
    fields["config_sha256"] = settings_sha256(
        artifact, config, source, evaluation, scale=scale, seed=seed
    )
    fields["not_measured"] = [*missing, *unkept]
    fields["warnings"] = [*fields.get("warnings", ()), *_doubts(distance)]
    return publish(record.model_copy(update=fields), folder)


def settings_sha256(
    artifact: Path,
    model: ModelConfig,
    source: DataSource | RunData,
    evaluation: EvaluationConfig,
    *,
    scale: float | Literal["auto"] = 1.0,
    seed: int = 0,
) -> str:
    """Hash of all that decides the numbers of a transfer, the artefact by its content.

    Raises:
        ArtifactError: There is no artefact.
    """
    asked = {
        "artifact": content_sha256(artifact),
        "model": model.model_dump(mode="json"),
        "data": TypeAdapter(type(source)).dump_python(source, mode="json"),
        "evaluation": evaluation.model_dump(mode="json"),
        "scale": scale,
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _measured(
    data: str | DataSource | None, like: str | Path | None
) -> tuple[DataSource | RunData, EvaluationConfig]:
    """What is measured on, and how."""
    if data is not None and like is None:
        return DataSource(data) if isinstance(data, str) else data, EvaluationConfig()
    if data is not None or like is None:
        raise ConfigError(
            "what to measure on is named by one of two: --data, or --like with a run whose data "
            "and settings are taken"
        )
    run = parse(read_yaml(Path(like) / CONFIG))
    return RunData(run.data), run.evaluation


def _data(source: DataSource | RunData, *learners: str | Path, selects: bool) -> Dataset:
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


def _distance(
    carried: Carried, artifact: Path, *, dtype: str
) -> tuple[Distance | None, list[NotMeasured]]:
    """How far the sibling is from the base, or why that is not known."""
    try:
        names = carried.touched()
        world = world_for(base_named_by(artifact))
        folder = str(world.biased) if world is not None else None
        base = base_of(artifact, folder=folder, dtype=dtype)
        relative = relative_distance(carried.model, base, names)
    except UnskewError as error:
        return None, [NotMeasured(what="distance of the sibling from the base", why=str(error))]
    return Distance(num_tensors=len(names), relative=relative), []


def _doubts(distance: Distance | None) -> list[str]:
    """Whether the model is a sibling of the base at all."""
    if distance is None or 0 < distance.relative < UNRELATED:
        return []
    if not distance.relative:
        return [
            "the weights that the artefact changes are the base's own: nothing was carried over"
        ]
    return [
        f"the weights that the artefact changes are {distance.relative:.2g} times their size away "
        "from the base's, as far as those of unrelated models; is this a sibling?"
    ]
