"""`unskew.trace`: a model and pairs in, a record and a page of where bias passes out."""

from __future__ import annotations

import math
import shlex
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unskew import __version__, recording
from unskew.assemble import model_for
from unskew.config import checked
from unskew.datasource import DataSource
from unskew.errors import ConfigError
from unskew.evaluation.effects import averaged
from unskew.evaluation.tracing import (
    POSITIONS,
    STATES,
    PairTrace,
    TraceSettings,
    choose_subjects,
    default_window,
    embedding_std,
    trace_pairs,
)
from unskew.models.logprobs import ScoringPath
from unskew.models.sites import layer_sites
from unskew.output import new_folder
from unskew.reports.storage import write_samples
from unskew.reports.trace_page import render_trace
from unskew.reports.trace_record import Corruption, TraceRecord
from unskew.schema import ModelConfig
from unskew.scoring import command_words
from unskew.training.launch import is_main_process, wait_for_everyone
from unskew.training.launch import start as start_processes
from unskew.types import SampleScore
from unskew.worlds import world_for

MIN_CHANGE = 0.05
"""Nats per token below which a pair's change is too small to divide by."""
PHASE, NAME = "trace", "bias"


def trace(  # noqa: PLR0913 - one entry for the command line; all but two are keywords
    model: str,
    data: str | DataSource,
    *,
    output_dir: str | Path,
    max_pairs: int = 200,
    num_draws: int = 10,
    noise_scale: float = 3.0,
    window: int | None = None,
    model_options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> TraceRecord:
    """Find the states through which group words act on the gap between stereotype and opposite.

    Pairs that the model learned from, as the folder of a merged model lists them, are left out.

    Args:
        model: Hub id, folder, or a world's name.
        data: Where the pairs are; the context of each names its target.
        output_dir: A new folder.
        max_pairs: Pairs drawn at the most.
        num_draws: Draws of the noise for each pair.
        noise_scale: Standard deviation of the noise over that of the group words' embeddings.
        window: Layers whose attention or MLP output is restored together; a fifth of all, at most
            10, if None.
        model_options: Further fields of `ModelConfig`: dtype, revision, ...
        seed: Of the draw of pairs, the noise and the bootstrap.

    Raises:
        UnskewError: Anything that is wrong; see `unskew.errors`.

    Source: see `unskew.evaluation.tracing.trace_pairs`.
    """
    if not noise_scale >= 0:
        raise ConfigError(f"noise_scale is {noise_scale}; it must be 0 or positive (3 is usual)")
    config = checked(ModelConfig, {"name_or_path": model, **(model_options or {})})
    start_processes(seed)
    folder = new_folder(output_dir)
    source = DataSource(data) if isinstance(data, str) else data
    dataset = source.load(model)
    loaded = model_for(config, world_for(model, source.name_or_path))
    path = ScoringPath(loaded.model)
    num_layers = len(layer_sites(loaded.model))
    subjects, drops = choose_subjects(
        dataset.splits["report"].pairs, loaded.encoder, max_pairs=max_pairs, seed=seed
    )
    settings = TraceSettings(
        noise_std=noise_scale * embedding_std(path, subjects),
        num_draws=num_draws,
        window=default_window(num_layers) if window is None else window,
        seed=seed,
    )
    begun = time.perf_counter()
    traces = trace_pairs(path, subjects, settings)
    options = {"max-pairs": max_pairs, "num-draws": num_draws, "noise-scale": noise_scale}
    words = command_words("trace", source, seed, model=config, **options, window=settings.window)
    record = TraceRecord(
        unskew_version=__version__,
        command=recording.command_line(),
        reproduce=shlex.join(words),
        created=recording.now(),
        seed=seed,
        environment=recording.environment(),
        model=recording.model_info(loaded),
        data=recording.data_info(dataset),
        num_layers=num_layers,
        num_pairs=len(traces),
        num_targets=len({t.pair.target for t in traces}),
        categories=dict(sorted(Counter(t.pair.category for t in traces).items())),
        left_out=dict(Counter(drop.reason for drop in drops)),
        corruption=Corruption(
            noise_scale=noise_scale,
            noise_std=settings.noise_std,
            num_draws=num_draws,
            window=settings.window,
            min_change=MIN_CHANGE,
        ),
        effects=averaged(traces, min_change=MIN_CHANGE, seed=seed),
        seconds=time.perf_counter() - begun,
    )
    if is_main_process():
        write_samples(folder, PHASE, NAME, [_sample(t) for t in traces])
        record.save(folder)
        render_trace(folder)
    wait_for_everyone()
    return record


def _sample(trace: PairTrace) -> SampleScore:
    """Gaps and effects of one pair, nats per token."""
    values: dict[str, float | str] = {
        "clean_gap": trace.clean_gap,
        "corrupted_gap": trace.corrupted_gap,
    }
    for s, state in enumerate(STATES):
        for p, position in enumerate(POSITIONS):
            for layer, effect in enumerate(trace.effects[s, p].tolist()):
                # Where the pair has no such position there is no effect, and NaN is no JSON.
                if not math.isnan(effect):
                    values[f"{state}.{position}.{layer}"] = effect
    return SampleScore(trace.pair.id, trace.pair.category, trace.pair.target, values)
