"""Scoring without training: a model, a model with an adapter, or stored sentence scores."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unskew import recording
from unskew.assemble import (
    model_for,
    oracle_reference,
    refuse_world_settings,
    with_neutral_text,
    world_for,
)
from unskew.benchmarks.stereoset import StereoSet, answers_from_predictions
from unskew.config import checked
from unskew.data.load import load_dataset
from unskew.errors import ConfigError, DataError, LeakageError
from unskew.hub.artifacts import (
    attach_adapter,
    digests,
    read_seen,
    save_carried,
    scale_adapter,
)
from unskew.hub.attach import attach_beside_base
from unskew.measuring import Measuring, not_measured
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import reference_for
from unskew.output import new_folder
from unskew.reports.page import render_page
from unskew.reports.record import MetricRow, RunRecord
from unskew.reports.storage import write_samples
from unskew.schema import WORLD, EvaluationConfig, ModelConfig
from unskew.training.launch import is_main_process, wait_for_everyone
from unskew.training.launch import start as start_processes
from unskew.types import Dataset, Drop, Task
from unskew.world.language import World

PHASE = "evaluated"
BEFORE, AFTER, BASE = "before", "after", "base"
ADAPTER = "adapter"


@dataclass(frozen=True, slots=True)
class DataSource:
    """What to score on, as `load_dataset` takes it."""

    name_or_path: str
    format: str = "auto"
    columns: Mapping[str, str] | None = None
    categories: Sequence[str] | None = None
    tasks: Sequence[str] | None = None

    def load(self, *learners: str | Path | None) -> Dataset:
        """The data set, without the pairs that an adapter or model learned from or was chosen by.

        Args:
            *learners: Folders that may hold a list of such pairs.

        Raises:
            LeakageError: They learned from all of them.
        """
        if self.name_or_path == WORLD:
            given = {"format": self.format != "auto", "columns": self.columns}
            refuse_world_settings([name for name, is_given in given.items() if is_given])
            return World().dataset()
        whole = load_dataset(
            self.name_or_path,
            format=self.format,
            columns=self.columns,
            categories=self.categories,
            tasks=self.tasks,
            splits=None,
        )
        return with_neutral_text(_unseen(whole, [Path(f) for f in learners if f is not None]))


def _unseen(whole: Dataset, learners: Sequence[Path]) -> Dataset:
    """The pairs that nobody learned from, the others as drops."""
    by_learner = {folder: read_seen(folder) for folder in learners}
    seen = set().union(*by_learner.values())
    report = whole.splits["report"]
    pairs = tuple(p for p in report.pairs if not digests([p]) & seen)
    if seen and not pairs:
        who = " and ".join(str(folder) for folder, own in by_learner.items() if own)
        raise LeakageError(
            f"{who} was trained on or chosen by all {len(report.pairs)} pairs of {whole.source}; "
            "name other data"
        )
    kept = {p.id for p in pairs}
    why = "the model or adapter learned from it"
    drops = [Drop(p.id, why) for p in report.pairs if p.id not in kept]
    splits = {"report": replace(report, pairs=pairs)}
    return replace(whole, splits=splits, drops=(*whole.drops, *drops))


def evaluate(
    model: str,
    data: str | DataSource,
    *,
    output_dir: str | Path,
    adapter: str | Path | None = None,
    benchmarks: Sequence[str] = ("auto",),
    start: str = "separate",
    model_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> RunRecord:
    """Score a model, with or without an adapter, and write record, samples and page.

    Pairs that the adapter was trained on or chosen by are left out; the record counts them.

    Args:
        model: Hub id, folder, or `world`.
        data: Where the pairs are.
        output_dir: A new folder.
        adapter: Folder of an adapter or weight delta made on this model.
        benchmarks: Names, or `auto` for all the data can serve.
        start: How StereoSet scores the first token, `separate` or `prefix`.
        model_options: Further fields of `ModelConfig`: dtype, revision, ...
        seed: Of bootstrap and sampling.

    Raises:
        UnskewError: Anything that is wrong; see `unskew.errors`.
    """
    settings = checked(EvaluationConfig, {"benchmarks": list(benchmarks), "start": start})
    config = checked(ModelConfig, {"name_or_path": model, **(model_options or {})})
    start_processes(seed)
    folder = new_folder(output_dir)
    source = DataSource(data) if isinstance(data, str) else data
    world = world_for(model, source.name_or_path)
    dataset = source.load(adapter, model)
    measuring = Measuring(dataset, settings, seed)
    loaded = model_for(config, world)
    info = recording.model_info(loaded)
    policy, references = loaded.model, {}
    if adapter:
        policy, base = attach_beside_base(loaded, adapter)
        references = {BASE: base}
    path = ScoringPath(policy)
    begun = time.perf_counter()
    rows = measuring.report(
        PHASE, path, loaded.encoder, {**references, **oracle_reference(world)}, folder
    )
    settings_used = {"adapter": adapter, "benchmarks": ",".join(benchmarks), "start": start}
    record = recording.scoring(
        command_words("evaluate", source, seed, model=config, **settings_used),
        dataset,
        seed,
        rows=rows,
        not_measured=not_measured(rows),
        model=info,
        timings={"evaluation": time.perf_counter() - begun},
    )
    return publish(record, folder)


def evaluate_predictions(
    predictions: str | Path, data: str | DataSource, *, output_dir: str | Path, seed: int = 0
) -> RunRecord:
    """Score stored sentence scores on StereoSet, without a model.

    Args:
        predictions: JSON `{"intrasentence": [{"id", "score"}], ...}`; higher is preferred. Tasks
            that the file does not have are left out.
        data: The StereoSet file the ids belong to.
        output_dir: A new folder.
        seed: Of the bootstrap.

    Raises:
        DataError: The file cannot be read.
        BenchmarkError: Scores are missing, or not finite.
    """
    start_processes(seed)
    folder = new_folder(output_dir)
    stored = _read_predictions(Path(predictions))
    source = DataSource(data) if isinstance(data, str) else data
    dataset = source.load()
    present: list[Task] = sorted({p.task for p in dataset.splits["report"].pairs})
    stored_tasks: list[Task] = [t for t in present if stored.get(t)]
    benchmark = StereoSet(
        dataset.splits["report"], split="report", seed=seed, tasks=stored_tasks or present
    )
    answers = answers_from_predictions(benchmark, stored)
    scores = [benchmark.score(r, answers[r.id]) for r in benchmark.requests()]
    rows = [MetricRow.measured(PHASE, m) for m in benchmark.metrics(scores)]
    write_samples(folder, PHASE, benchmark.name, scores)
    command = command_words("evaluate", source, seed, predictions=predictions)
    missing = not_measured(rows)
    record = recording.scoring(command, dataset, seed, rows=rows, not_measured=missing)
    return publish(record, folder)


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
    """Carry an adapter to another checkpoint of the same family, and measure before and after.

    The debiasing weights are added to the sibling as they are: `W_sibling + scale (alpha / r) B A`.
    `adapter/` in the output folder is the adapter for the sibling.

    Args:
        artifact: Folder of an adapter.
        model: The sibling: hub id or folder.
        data: Where the pairs are.
        output_dir: A new folder.
        scale: Factor on the adapter, > 0.
        model_options: Further fields of `ModelConfig`.
        seed: Of bootstrap and sampling.

    Raises:
        ArtifactError: The adapter does not fit the sibling.
        ConfigError: scale is not positive.

    Source: BiasUnlearn, arXiv 2509.25673, Table 3.
    """
    if not scale > 0:
        raise ConfigError(
            f"scale is {scale}; it must be positive (1 carries the weights over whole)"
        )
    config = checked(ModelConfig, {"name_or_path": model, **(model_options or {})})
    start_processes(seed)
    folder = new_folder(output_dir)
    source = DataSource(data) if isinstance(data, str) else data
    world = world_for(model, source.name_or_path)
    dataset = source.load(artifact, model)
    measuring = Measuring(dataset, EvaluationConfig(), seed)
    loaded = model_for(config, world)
    info = recording.model_info(loaded)
    # The adapter is tried on first, so that one that does not fit costs no evaluation.
    policy = attach_adapter(loaded, artifact, any_base=True)
    scale_adapter(policy, scale)
    path = ScoringPath(policy)
    with policy.disable_adapter():
        rows = measuring.report(BEFORE, path, loaded.encoder, {}, folder)
    references = {BASE: reference_for(path), **oracle_reference(world)}
    rows += measuring.report(AFTER, path, loaded.encoder, references, folder)
    if is_main_process():
        save_carried(policy, loaded, Path(artifact), folder / ADAPTER)
    command = command_words("transfer", source, seed, model=config, artifact=artifact, scale=scale)
    missing = not_measured(rows)
    record = recording.scoring(command, dataset, seed, rows=rows, not_measured=missing, model=info)
    return publish(record, folder)


def command_words(
    name: str, source: DataSource, seed: int, *, model: ModelConfig | None = None, **options: Any
) -> list[str]:
    """Words of the command that repeats a scoring."""
    words = ["unskew", name, "--data", source.name_or_path, "--format", source.format]
    if model is not None:
        words += ["--model", model.name_or_path, "--dtype", model.dtype]
        words += ["--revision", model.revision] if model.revision else []
    for ours, theirs in (source.columns or {}).items():
        words += ["--column", f"{ours}={theirs}"]
    for option, value in options.items():
        words += [f"--{option}", str(value)] if value is not None else []
    return [*words, "--seed", str(seed), "--output-dir", "NEW_FOLDER"]


def publish(record: RunRecord, folder: Path) -> RunRecord:
    """Write record and page."""
    if is_main_process():
        record.save(folder)
        render_page(folder)
    wait_for_everyone()
    return record


def _read_predictions(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no predictions file {path}") from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as JSON: {error}; write the scores again"
        ) from error
    if not isinstance(stored, dict):
        raise DataError(f'{path} must be {{"intrasentence": [{{"id", "score"}}], ...}}')
    return stored
