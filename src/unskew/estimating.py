"""What a run will cost, before it is run."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from unskew.assemble import build, data_for, model_for
from unskew.models.load import DTYPES
from unskew.models.logprobs import BLOCK_ELEMENTS
from unskew.models.shapes import meta_model, pass_cost
from unskew.plans import Plan, Task
from unskew.schema import (
    DataConfig,
    MetaEditStage,
    ModelConfig,
    RunConfig,
    SaliencyStage,
    TrainStage,
)
from unskew.types import Dataset, Examples
from unskew.updates import SCOPES
from unskew.world_names import WORLDS
from unskew.worlds import world_for

__all__ = ["Estimate", "estimate", "forecast", "operations_per_second"]

_CHARACTERS_PER_TOKEN = 4
_ADAM_BYTES = 16
"""A trained weight in float32, its gradient and two moments."""
_SCORED_ROWS = 32
_LOGIT_BLOCKS = 3
"""A block of logits, its log-softmax and its gradient, in float32."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost of one run."""

    parameters: int
    trained: int
    """Weights that move, in the stage that moves most; 0 of what is carried over."""
    memory_bytes: int
    """Weights, optimiser, activations of a micro-batch and a block of logits; without the
    libraries (half a gigabyte) and what a framework holds in reserve."""
    operations: float
    """Floating-point operations of all stages and scorings."""


@dataclass(frozen=True, slots=True)
class _Work:
    trained: float = 0.0
    """Tokens that go forward and backward."""
    scored: float = 0.0
    """Tokens that only go forward."""


def forecast(plan: Plan) -> list[str]:
    """Check every run of a plan and say what it will cost on this machine, a line each.

    Raises:
        ConfigError: A configuration is wrong; the message names the run.
        DataError: The data cannot be read.
        ModelError: A model's configuration cannot be read.
    """
    settings = {task: plan.configuration(task) for task in plan.runs()}
    rows = [("model", "contender", "parameters", "trained", "memory", "one run", "runs")]
    rates: dict[str, float] = {}
    total = 0.0
    alike: dict[tuple[str, str], list[Task]] = {}
    for task in settings:
        alike.setdefault((task.model, task.contender.name), []).append(task)
    for (model, contender), tasks in alike.items():
        own = settings[tasks[0]]
        found = estimate(own) if tasks[0].source is None else estimate_carrying(own)
        if own.model.dtype not in rates:
            rates[own.model.dtype] = operations_per_second(own.model.dtype)
        seconds = found.operations / rates[own.model.dtype]
        total += seconds * len(tasks)
        counts = (f"{found.parameters:,}", f"{found.trained:,}")
        memory = f"{found.memory_bytes / 2**30:.1f} GiB"
        rows.append((model, contender, *counts, memory, _hours(seconds), str(len(tasks))))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    speeds = ", ".join(f"{rate / 1e9:,.0f} billion a second in {d}" for d, rate in rates.items())
    return [
        *("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows),
        f"{len(settings)} runs, {_hours(total)} one after the other at the speed of a plain matrix "
        f"product here ({speeds}); what is no matrix product, generated text, own data of "
        "benchmarks and loading come on top",
    ]


def estimate(settings: RunConfig) -> Estimate:
    """Count the cost of a run on a model without weights.

    Texts are taken as long as the average text of the data, with four characters to a token.
    Stages whose scope is no adapter are counted as if all weights were trained.

    Raises:
        DataError: The data cannot be read.
        ModelError: The model's configuration cannot be read.
    """
    data = _dataset(settings.data.model_dump_json())
    length = _mean_length(data)
    bare = _bare(settings.model)
    parameters = sum(p.numel() for p in bare.parameters())
    weights = sum(p.numel() * p.element_size() for p in bare.parameters())
    head = 2 * bare.get_output_embeddings().weight.numel()
    memory, trained, operations = weights, 0, 0.0
    for stage in settings.stages:
        work = _work(stage, settings, data, length)
        policy = _scoped(stage, settings.model)
        moved = sum(p.numel() for p in policy.parameters() if p.requires_grad)
        rows = _micro_batch_rows(stage, length)
        cost = pass_cost(policy, rows, length)
        tokens = rows * length
        # The head runs forward, once more in the backward pass, and once for its gradient.
        operations += work.trained * (cost.both / tokens + 3 * head)
        operations += work.scored * (cost.forward / tokens + head)
        held = weights + moved * _ADAM_BYTES + cost.saved_bytes + _LOGIT_BLOCKS * 4 * BLOCK_ELEMENTS
        if work.trained:
            memory, trained = max(memory, held), max(trained, moved)
    return Estimate(parameters, trained, memory, operations)


def estimate_carrying(settings: RunConfig) -> Estimate:
    """Count the cost of carrying over what a run of these settings left: two evaluations.

    Args:
        settings: Of the run, with the sibling as its model.

    Raises:
        DataError: The data cannot be read.
        ModelError: The model's configuration cannot be read.
    """
    data = _dataset(settings.data.model_dump_json())
    length = _mean_length(data)
    bare = _bare(settings.model)
    weights = sum(p.numel() * p.element_size() for p in bare.parameters())
    last = settings.stages[-1]
    is_adapter = isinstance(last, TrainStage) and last.scope.get("name") == "lora"
    # A delta is held against a copy; the base, whose distance is told, lies in the CPU's memory.
    copies = 1 + (not is_adapter) + (not torch.cuda.is_available())
    head = 2 * bare.get_output_embeddings().weight.numel()
    cost = pass_cost(_scoped(last, settings.model), _SCORED_ROWS, length)
    scored = 2.0 * length * _texts(data.splits["report"])
    return Estimate(
        parameters=sum(p.numel() for p in bare.parameters()),
        trained=0,
        memory_bytes=copies * weights + _LOGIT_BLOCKS * 4 * BLOCK_ELEMENTS,
        operations=scored * (cost.forward / (_SCORED_ROWS * length) + head),
    )


def operations_per_second(dtype: str) -> float:
    """Floating-point operations a second of a matrix product on this machine.

    Args:
        dtype: `float32`, `bfloat16` or `float16`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left = torch.ones((1024, 2048), dtype=DTYPES[dtype], device=device)
    right = torch.ones((2048, 2048), dtype=DTYPES[dtype], device=device)
    done, begun = 0, 0.0
    for repeat in range(12):
        if repeat == 2:  # the first ones also start threads and choose kernels
            _wait(device)
            begun = time.perf_counter()
        _ = left @ right
        done += repeat >= 2
    _wait(device)
    return done * 2 * left.numel() * right.shape[1] / (time.perf_counter() - begun)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h"


@cache
def _dataset(settings: str) -> Dataset:
    return data_for(DataConfig.model_validate_json(settings))


def _mean_length(data: Dataset) -> int:
    texts = [text for pair in data.splits["train"].pairs for text in pair.texts]
    characters = sum(map(len, texts)) / max(1, len(texts))
    return max(2, math.ceil(characters / _CHARACTERS_PER_TOKEN))


def _bare(model: ModelConfig) -> Any:
    if model.name_or_path in WORLDS:
        return model_for(model, world_for(model.name_or_path)).model.to("meta")
    return meta_model(
        model.name_or_path,
        dtype=model.dtype,
        revision=model.revision,
        remote=model.trust_remote_code,
    )


def _scoped(stage: Any, model: ModelConfig) -> Any:
    """The model as the stage trains it."""
    bare = _bare(model)
    if isinstance(stage, TrainStage) and stage.scope.get("name") == "lora":
        scope = build(SCOPES, stage.scope, f"stages.{stage.name}.scope")
        return scope.apply(bare)
    return bare


def _rows_of_chunk(stage: Any) -> int:
    if isinstance(stage, SaliencyStage):
        return sum(stage.bias_rows.values()) + sum(stage.reason_rows.values())
    if isinstance(stage, MetaEditStage):
        # Pairs are read before the edit and after it, unrelated texts once with a gradient.
        return 5 * stage.num_edits + stage.documents
    if not isinstance(stage, TrainStage):
        return 1
    chunk = stage.chunk
    whole = 2 * (chunk.pairs + chunk.texts)
    return chunk.forget + chunk.retain + chunk.unrelated + chunk.slots + chunk.contexts + whole


def _micro_batch_rows(stage: Any, length: int) -> int:
    rows = max(1, _rows_of_chunk(stage))
    if isinstance(stage, TrainStage):
        most = stage.training.micro_batch_examples or rows
        return max(1, min(rows, most, stage.training.micro_batch_tokens // length))
    return min(rows, _SCORED_ROWS)


def _work(stage: Any, settings: RunConfig, data: Dataset, length: int) -> _Work:
    """Tokens of a stage and of the scorings it asks for; the last one bears those of the report."""
    select = length * _texts(data.splits["select"], settings.evaluation.select_per_category)
    is_last = stage.name == settings.stages[-1].name
    scored = 2.0 * length * _texts(data.splits["report"]) if is_last else 0.0
    rows = length * _rows_of_chunk(stage)
    if isinstance(stage, TrainStage):
        training = stage.training
        watched = stage.choice is not None or bool(stage.controllers)
        evaluations = training.max_steps // training.eval_steps + 1 if watched else 0
        reference = length * (stage.chunk.unrelated + stage.chunk.contexts)
        scored += evaluations * select + training.max_steps * reference
        return _Work(training.max_steps * rows, scored)
    if isinstance(stage, SaliencyStage):
        return _Work(rows * int(stage.bias.get("nodes", 1)), scored)
    trained = stage.training.max_steps * rows if isinstance(stage, MetaEditStage) else 0.0
    evaluations = len(getattr(stage, "strengths", ())) + getattr(stage, "refine", 0)
    return _Work(trained, scored + evaluations * select)


def _texts(examples: Examples, per_category: int | None = None) -> int:
    """Texts of the pairs, of at most so many pairs of each category."""
    counts: dict[str, int] = {}
    texts = 0
    for pair in examples.pairs:
        counts[pair.category] = counts.get(pair.category, 0) + 1
        if per_category is None or counts[pair.category] <= per_category:
            texts += len(pair.texts)
    return texts
