"""Small runs on disk whose scores are set by hand: one pair for each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.unit.reports.example_record import example_record
from unskew.benchmarks.reasoning import Reasoning
from unskew.benchmarks.stereoset import StereoSet
from unskew.reports.record import (
    Checkpoint,
    HistoryMetric,
    HistoryRow,
    MetricRow,
    RunRecord,
    TrainRow,
)
from unskew.reports.storage import write_samples
from unskew.types import Metric, SampleScore

MODEL = example_record().model
DATA = example_record().data


def pairs(preferred: Sequence[int], points: Sequence[int] | None = None, **changes: Any):
    """StereoSet scores: 1 where the stereotype is preferred, LM points 0 to 2."""
    points = points or [2] * len(preferred)
    return [
        SampleScore(
            id=f"p{i}",
            category=("gender", "race")[i % 2],
            target=f"t{i}",
            values={
                "gap": 0.1 if wins else -0.1,
                "preferred": float(wins),
                "lm_points": float(lm),
                "variant": "intrasentence",
                **changes,
            },
        )
        for i, (wins, lm) in enumerate(zip(preferred, points, strict=True))
    ]


def questions(correct: Sequence[int]):
    """Reasoning scores: 1 where the answer was right."""
    values = {"logprob": -1.0, "entangled": 0.0, "variant": "greedy"}
    return [
        SampleScore(f"q{i}", "count", "", {**values, "correct": float(c)})
        for i, c in enumerate(correct)
    ]


BENCHMARKS = {"stereoset": StereoSet, "reasoning": Reasoning}


def history(rows: Mapping[int, tuple[float, float]]) -> list[HistoryRow]:
    """Evaluations during training: step to SS and KL to the base."""

    def metric(benchmark: str, name: str, variant: str, value: float) -> HistoryMetric:
        fields = (benchmark, variant, "select", "overall", name, value, 10)
        return HistoryMetric.from_metric(Metric(*fields, None, None, 50.0, "closer", "%"))

    return [
        HistoryRow(
            step=step,
            stage="train",
            metrics=[
                metric("stereoset", "ss", "intrasentence", ss),
                metric("divergence", "kl_reference_policy", "base", kl),
            ],
        )
        for step, (ss, kl) in rows.items()
    ]


def write_run(
    folder: Path,
    phases: Mapping[str, Mapping[str, Sequence[SampleScore]]],
    *,
    recipe: str | None = "biasunlearn",
    trained: Mapping[int, tuple[float, float]] | None = None,
    **changes: Any,
) -> Path:
    """A run: phase to benchmark to scores, and a record that agrees with them."""
    rows = []
    for phase, by_benchmark in phases.items():
        for name, scores in by_benchmark.items():
            write_samples(folder, phase, name, scores)
            found = BENCHMARKS[name].aggregate(scores, split="report")
            rows += [MetricRow.measured(phase, m) for m in found]
    fields: dict[str, Any] = {
        "unskew_version": "0",
        "command": "unskew",
        "recipe": recipe,
        "created": "2026-01-01T00:00:00Z",
        "seed": 0,
        "config_sha256": "c",
        "environment": example_record().environment,
        "model": MODEL,
        "data": DATA,
        "metrics": rows,
        "reproduce": "unskew",
    }
    if trained:
        fields["history"] = history(trained)
        fields["train_log"] = [
            TrainRow(step=step, loss=1.0 / (1 + step), learning_rate=0.1) for step in trained
        ]
        last = max(trained)
        fields["checkpoint"] = Checkpoint(best_step=last, last_step=last, reason="least bias")
        fields["timings"] = {"training": 12.5}
    RunRecord.model_validate({**fields, **changes}).save(folder)
    return folder


def unlearned(folder: Path, before: Sequence[int], after: Sequence[int], **changes: Any) -> Path:
    """A run of `unlearn` with StereoSet alone."""
    phases = {"before": {"stereoset": pairs(before)}, "after": {"stereoset": pairs(after)}}
    return write_run(folder, phases, **changes)


def evaluated(folder: Path, preferred: Sequence[int], **changes: Any) -> Path:
    """A run of `evaluate` with StereoSet alone."""
    scores = {"evaluated": {"stereoset": pairs(preferred)}}
    return write_run(folder, scores, recipe=None, **changes)


EVEN_HISTORY = {0: (90.0, 0.0), 10: (75.0, 0.1), 20: (65.0, 0.4)}
"""SS and KL to the base by step."""
