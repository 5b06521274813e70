"""What the record says of environment, model, data and training."""

from __future__ import annotations

import hashlib
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from unskew import __version__
from unskew.controllers.checkpoint_choice import CheckpointChoice
from unskew.evaluation.decoding import DecodedPath
from unskew.evaluation.suite import GENERATION
from unskew.models.load import LoadedModel, base_parameters, fingerprint
from unskew.models.sites import text_model_type
from unskew.reports import record as records
from unskew.reports.findings import AFTER, BEFORE
from unskew.reports.storage import read_samples, samples_path
from unskew.training.launch import num_processes
from unskew.training.trainer import UnlearningTrainer
from unskew.types import Dataset, Decision, Evaluation, Examples

PACKAGES = (
    "unskew",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "numpy",
    "lm-eval",
)


def environment() -> records.Environment:
    """Python, platform, device, processes and package versions."""
    packages: dict[str, str] = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return records.Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        device=device,
        num_processes=num_processes(),
        packages=packages,
    )


def peak_memory_bytes() -> int | None:
    """Most memory so far: of this process's tensors on the GPU, else of the whole process.

    None where neither can be told, as on Windows without a GPU.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def model_info(loaded: LoadedModel) -> records.ModelInfo:
    """The base model, without any adapter."""
    parameters = [p for _, p in base_parameters(loaded.model)]
    return records.ModelInfo(
        name_or_path=loaded.name_or_path,
        model_type=text_model_type(loaded.model),
        num_parameters=sum(p.numel() for p in parameters),
        dtype=str(parameters[0].dtype).removeprefix("torch."),
        fingerprint=fingerprint(loaded.model),
    )


def data_info(dataset: Dataset) -> records.DataInfo:
    """What each split holds, and what was left out."""
    counts = {split: _counts(examples) for split, examples in dataset.splits.items()}
    return records.DataInfo(
        name=dataset.name,
        source=dataset.source,
        sha256=dataset.sha256,
        counts=counts,
        drops=dict(Counter(d.reason for d in dataset.drops)),
    )


def _counts(examples: Examples) -> dict[str, int]:
    """Pairs by category; of data without pairs its questions by category or documents by kind."""
    asked = examples.choices or examples.coreferences or examples.labelled
    asked = asked or examples.associations or examples.prompts or examples.descriptors
    pairs = examples.pairs or asked
    if pairs or not examples.documents:
        return dict(Counter(p.category for p in pairs))
    return dict(Counter(d.kind for d in examples.documents))


def sampled_texts(run_dir: Path) -> list[records.GeneratedText]:
    """What the model wrote before and after, side by side; none where nothing was sampled."""
    if not samples_path(run_dir, AFTER, GENERATION).is_file():
        return []
    before = {s.id: s.values for s in read_samples(run_dir, BEFORE, GENERATION)}
    return [
        records.GeneratedText(
            prompt=str(s.values["prompt"]),
            before=str(before[s.id]["text"]) if s.id in before else None,
            after=str(s.values["text"]),
        )
        for s in read_samples(run_dir, AFTER, GENERATION)
    ]


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC).replace(microsecond=0)


def command_line() -> str:
    """The command that started this process, or that it was Python code that did."""
    started = Path(sys.argv[0])
    is_ours = started.stem == "unskew" or started.match("unskew/__main__.py")
    return shlex.join(["unskew", *sys.argv[1:]]) if is_ours else "called from Python"


def scoring(
    command: list[str],
    dataset: Dataset,
    seed: int,
    *,
    rows: list[records.MetricRow],
    not_measured: list[records.NotMeasured],
    model: records.ModelInfo | None = None,
    benchmark_data: Mapping[str, records.DataInfo] | None = None,
    timings: Mapping[str, float] | None = None,
) -> records.RunRecord:
    """The record of a scoring without training.

    Args:
        command: Words that repeat it in a new folder.
        dataset: What was scored on.
        seed: Of bootstrap and sampling.
        rows: What was measured.
        not_measured: What was not, and why.
        model: The model; None where stored scores were judged.
        benchmark_data: Data of benchmarks that were given their own.
        timings: What was timed, in seconds.
    """
    reproduce = shlex.join(command)
    return records.RunRecord(
        unskew_version=__version__,
        command=command_line(),
        recipe=None,
        created=now(),
        seed=seed,
        config_sha256=hashlib.sha256(reproduce.encode()).hexdigest(),
        environment=environment(),
        model=model,
        data=data_info(dataset),
        benchmark_data=dict(benchmark_data or {}),
        metrics=rows,
        not_measured=not_measured,
        timings=dict(timings or {}),
        reproduce=reproduce,
    )


def decoding(decoded: DecodedPath | None) -> dict[str, Any]:
    """What a decoder cost, and whether it did anything, as fields of the record."""
    return {} if decoded is None else {"forwards_per_token": decoded.forwards_per_token}


def training(trainer: UnlearningTrainer, stage: str) -> dict[str, Any]:
    """History, log, decisions and chosen checkpoint of a train stage, as fields of the record."""
    best = trainer.choice.choose(trainer.history)
    return {
        "num_tokens": trainer.step_log.num_tokens,
        "result": f"step {best.step} of {trainer.history[-1].step}: {best.reason}",
        "history": [
            records.HistoryRow(
                step=e.step,
                stage=stage,
                metrics=[records.HistoryMetric.from_metric(m) for m in e.metrics],
            )
            for e in trainer.history
            if e.metrics
        ],
        "train_log": train_rows(trainer.train_log, stage),
        "decisions": decisions(trainer.decisions, stage),
        "checkpoint": records.Checkpoint(
            best_step=best.step,
            last_step=trainer.history[-1].step,
            reason=best.reason,
            floors=floors_of(trainer.choice, trainer.history, best.step),
        ),
    }


def train_rows(lines: Iterable[Mapping[str, Any]], stage: str) -> list[records.TrainRow]:
    """Lines of a stage's step log."""
    return [
        records.TrainRow(**{**row, "learning_rate": row["learning_rate"] or 0.0}, stage=stage)
        for row in lines
    ]


def decisions(made: Iterable[Decision], stage: str) -> list[records.Decision]:
    """What a stage decided on the way."""
    return [
        records.Decision(
            step=d.step,
            kind=d.kind,
            directions=dict(d.directions) if d.directions else None,
            reason=d.reason,
            stage=stage,
        )
        for d in made
    ]


def floors_of(
    choice: CheckpointChoice, history: Sequence[Evaluation], step: int
) -> list[records.Floor]:
    """Each floor with what the chosen evaluation reached."""
    before = history[0]
    kept = next(e for e in history if e.step == step)
    found: list[records.Floor] = []
    for floor in choice.floors:
        place = (floor.benchmark, floor.metric, floor.category)
        reached = kept.variants(*place)
        for variant, old in before.variants(*place).items():
            if (new := reached.get(variant)) is None:
                continue
            room = floor.max_loss * abs(old.value) if floor.relative else floor.max_loss
            limit = old.value - room if new.better == "higher" else old.value + room
            found.append(
                records.Floor(
                    metric=f"{floor.benchmark}.{floor.metric}",
                    variant=variant,
                    floor=limit,
                    value=new.value,
                    met=floor.is_met(old, new),
                )
            )
    return found
