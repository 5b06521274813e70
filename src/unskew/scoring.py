"""Scoring without training: a model, a model with an adapter, or stored sentence scores."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unskew import __version__, recording
from unskew.assemble import model_for, oracle_reference, with_neutral_text, world_for
from unskew.benchmarks.stereoset import StereoSet, answers_from_predictions
from unskew.config import WORLD, EvaluationConfig, ModelConfig
from unskew.data.load import load_dataset
from unskew.data.splits import SplitSettings
from unskew.errors import ConfigError, DataError
from unskew.hub.artifacts import attach_adapter, read_manifest
from unskew.measuring import Measuring, not_measured
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import reference_for
from unskew.reports.page import render_page
from unskew.reports.record import MetricRow, RunRecord
from unskew.reports.storage import write_samples
from unskew.training.launch import is_main_process
from unskew.training.launch import start as start_processes
from unskew.types import Dataset, Task
from unskew.world.language import World

PHASE = "evaluated"
BEFORE, AFTER, BASE = "before", "after", "base"


@dataclass(frozen=True, slots=True)
class DataSource:
    """What to score on, as `load_dataset` takes it."""

    name_or_path: str
    format: str = "auto"
    columns: Mapping[str, str] | None = None
    categories: Sequence[str] | None = None
    tasks: Sequence[str] | None = None

    def load(self, adapter: Path | None = None) -> Dataset:
        """The data set; only its report split where an adapter was trained on the rest of it."""
        if self.name_or_path == WORLD:
            return World().dataset()
        whole = self._read(None)
        manifest = read_manifest(adapter) if adapter is not None else None
        if manifest is None or manifest.data_sha256 != whole.sha256:
            return with_neutral_text(whole)
        shares = dict(manifest.splits)
        seed = int(shares.pop("seed"))
        return with_neutral_text(self._read(SplitSettings(**shares, seed=seed)))

    def _read(self, splits: SplitSettings | None) -> Dataset:
        return load_dataset(
            self.name_or_path,
            format=self.format,
            columns=self.columns,
            categories=self.categories,
            tasks=self.tasks,
            splits=splits,
        )


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

    Data that the adapter was trained on is cut as it was then, and only the report split counts.

    Args:
        model: Hub id, folder, or `world`.
        data: Where the pairs are.
        output_dir: A new folder.
        adapter: Folder of an adapter made on this model.
        benchmarks: Names, or `auto` for all the data can serve.
        start: How StereoSet scores the first token, `separate` or `prefix`.
        model_options: Further fields of `ModelConfig`: dtype, revision, ...
        seed: Of bootstrap and sampling.

    Raises:
        UnskewError: Anything that is wrong; see `unskew.errors`.
    """
    folder = new_folder(output_dir)
    start_processes(seed)
    source = DataSource(data) if isinstance(data, str) else data
    world = world_for(model, source.name_or_path)
    dataset = source.load(Path(adapter) if adapter else None)
    settings = EvaluationConfig.model_validate({"benchmarks": list(benchmarks), "start": start})
    measuring = Measuring(dataset, settings, seed)
    config = ModelConfig.model_validate({"name_or_path": model, **(model_options or {})})
    loaded = model_for(config, world)
    info = recording.model_info(loaded)
    policy = attach_adapter(loaded, adapter) if adapter else loaded.model
    path = ScoringPath(policy)
    references = {BASE: reference_for(path)} if adapter else {}
    begun = time.perf_counter()
    rows = measuring.report(
        PHASE, path, loaded.encoder, {**references, **oracle_reference(world)}, folder
    )
    record = blank_record(dataset, seed).model_copy(
        update={
            "model": info,
            "metrics": rows,
            "not_measured": not_measured(rows),
            "timings": {"evaluation": time.perf_counter() - begun},
        }
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
    folder = new_folder(output_dir)
    stored = _read_predictions(Path(predictions))
    source = DataSource(data) if isinstance(data, str) else data
    dataset = source.load()
    present: list[Task] = sorted({p.task for p in dataset.splits["report"].pairs})
    tasks = [t for t in present if stored.get(t)] or present
    benchmark = StereoSet(dataset.splits["report"], split="report", seed=seed, tasks=tasks)
    answers = answers_from_predictions(benchmark, stored)
    scores = [benchmark.score(r, answers[r.id]) for r in benchmark.requests()]
    rows = [MetricRow.measured(PHASE, m) for m in benchmark.metrics(scores)]
    write_samples(folder, PHASE, benchmark.name, scores)
    record = blank_record(dataset, seed).model_copy(
        update={
            "metrics": rows,
            "not_measured": not_measured(rows),
        }
    )
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
    folder = new_folder(output_dir)
    start_processes(seed)
    source = DataSource(data) if isinstance(data, str) else data
    dataset = source.load(Path(artifact))
    measuring = Measuring(dataset, EvaluationConfig(), seed)
    config = ModelConfig.model_validate({"name_or_path": model, **(model_options or {})})
    loaded = model_for(config, None)
    info = recording.model_info(loaded)
    plain = ScoringPath(loaded.model)
    rows = measuring.report(BEFORE, plain, loaded.encoder, {}, folder)
    policy = attach_adapter(loaded, artifact, any_base=True)
    scale_adapter(policy, scale)
    path = ScoringPath(policy)
    references = {BASE: reference_for(path)}
    rows += measuring.report(AFTER, path, loaded.encoder, references, folder)
    record = blank_record(dataset, seed).model_copy(
        update={"model": info, "metrics": rows, "not_measured": not_measured(rows)}
    )
    return publish(record, folder)


def scale_adapter(model: Any, scale: float) -> None:
    """Multiply what a LoRA adapter adds."""
    for module in model.modules():
        if "default" in getattr(module, "scaling", {}):
            module.scaling["default"] *= scale


def blank_record(dataset: Dataset, seed: int) -> RunRecord:
    """A record that knows data and environment."""
    command = recording.command_line()
    return RunRecord(
        unskew_version=__version__,
        command=command,
        recipe=None,
        created=recording.now(),
        seed=seed,
        config_sha256=hashlib.sha256(command.encode()).hexdigest(),
        environment=recording.environment(),
        model=None,
        data=recording.data_info(dataset),
        reproduce=command,
    )


def new_folder(output_dir: str | Path) -> Path:
    """A folder with nothing in it yet.

    Raises:
        ConfigError: There is something in it.
    """
    folder = Path(output_dir)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} already holds something; choose another --output-dir")
    return folder


def publish(record: RunRecord, folder: Path) -> RunRecord:
    """Write record and page."""
    if is_main_process():
        record.save(folder)
        render_page(folder)
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
