"""Scoring without training: a model, a model with an adapter, or stored sentence scores."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unskew import recording
from unskew.assemble import (
    model_for,
)
from unskew.benchmarks import BENCHMARKS
from unskew.config import checked
from unskew.data.neutral import neutral_dataset
from unskew.data.sources import TextSource, open_source
from unskew.datasource import DataSource
from unskew.decoding import attach_decoder
from unskew.errors import BenchmarkError, ConfigError, DataError
from unskew.evaluation.own_data import is_own
from unskew.hub.attach import attach_beside_base
from unskew.hub.decoders import is_decoder
from unskew.measuring import Measuring, not_measured
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import ModelReference
from unskew.output import new_folder
from unskew.protocols import JudgesPredictions
from unskew.recipes import read_yaml
from unskew.reports.page import render_page
from unskew.reports.record import MetricRow, RunRecord
from unskew.reports.storage import write_samples
from unskew.schema import EvaluationConfig, ModelConfig
from unskew.training.launch import is_main_process, wait_for_everyone
from unskew.training.launch import start as start_processes
from unskew.types import Examples
from unskew.worlds import oracle_reference, world_for

PHASE = "evaluated"
BASE = "base"


def evaluate(  # noqa: PLR0913 - one parameter for each option
    model: str,
    data: str | DataSource | None = None,
    *,
    output_dir: str | Path,
    adapter: str | Path | None = None,
    benchmarks: Sequence[str] = ("auto",),
    start: str = "separate",
    model_options: Mapping[str, Any] | None = None,
    judge: str | Path | Mapping[str, Any] | None = None,
    rating: str | Path | Mapping[str, Any] | None = None,
    seed: int = 0,
) -> RunRecord:
    """Score a model, with or without an adapter, and write record, samples and page.

    Pairs that the adapter was trained on or chosen by are left out; the record counts them.

    Args:
        model: Hub id, folder, or a world's name.
        data: Where the pairs are; may be left out where each benchmark has data of its own.
        output_dir: A new folder.
        adapter: Folder of an adapter, weight delta, projection or decoder made on this model.
        benchmarks: Names, or `auto` for all the data can serve; `NAME:PLACE` for one on data of
            its own, e.g. `perplexity:wikitext-2/test.txt`.
        start: How StereoSet scores the first token, `separate` or `prefix`.
        model_options: Further fields of `ModelConfig`: dtype, revision, ...
        judge: Settings of `evaluation.judge`, or a YAML file with them.
        rating: Settings of `evaluation.rating`, or a YAML file with them.
        seed: Of bootstrap and sampling.

    Raises:
        UnskewError: Anything that is wrong; see `unskew.errors`.
    """
    given = {"judge": judge, "rating": rating}
    nodes = {k: read_yaml(Path(v)) if isinstance(v, str | Path) else v for k, v in given.items()}
    nodes = {key: node for key, node in nodes.items() if node is not None}
    settings = checked(EvaluationConfig, {"benchmarks": list(benchmarks), "start": start, **nodes})
    config = checked(ModelConfig, {"name_or_path": model, **(model_options or {})})
    start_processes(seed)
    folder = new_folder(output_dir)
    source = DataSource(data) if isinstance(data, str) else data
    if source is None and not all(map(is_own, benchmarks)):
        raise ConfigError("--data is missing; name the pairs to score on")
    world = world_for(model, source.name_or_path if source else "")
    dataset = source.load(adapter, model) if source else neutral_dataset()
    measuring = Measuring(dataset, settings, seed)
    loaded = model_for(config, world)
    info = recording.model_info(loaded)
    policy, references = loaded.model, {}
    decoded = None
    if adapter and is_decoder(Path(adapter)):
        decoded = attach_decoder(loaded, adapter)
        references = {BASE: ModelReference(loaded.model)}
    elif adapter:
        policy, base = attach_beside_base(loaded, adapter)
        references = {BASE: base}
    path = decoded or ScoringPath(policy)
    begun = time.perf_counter()
    rows = measuring.report(
        PHASE, path, loaded.encoder, {**references, **oracle_reference(world)}, folder
    )
    settings_used = {"adapter": adapter, "benchmarks": ",".join(benchmarks), "start": start}
    settings_used |= {k: v for k, v in given.items() if isinstance(v, str | Path)}
    record = recording.scoring(
        command_words("evaluate", source, seed, model=config, **settings_used),
        dataset,
        seed,
        rows=rows,
        not_measured=not_measured(rows),
        model=info,
        benchmark_data=measuring.own_data(),
        timings={"evaluation": time.perf_counter() - begun},
    )
    return publish(record.model_copy(update=recording.decoding(decoded)), folder)


def evaluate_predictions(
    predictions: str | Path, data: str | DataSource, *, output_dir: str | Path, seed: int = 0
) -> RunRecord:
    """Judge stored answers of any model, without it.

    Args:
        predictions: For StereoSet, JSON `{"intrasentence": [{"id", "score"}], ...}`, higher is
            preferred, tasks that the file does not have are left out; for BBQ, JSON lines
            `{"example_id", "answer"}` (a text) or `{"example_id", "choice"}` (0, 1 or 2). May be
            gzipped.
        data: The data that the answers are for.
        output_dir: A new folder.
        seed: Of the bootstrap.

    Raises:
        DataError: The file cannot be read.
        BenchmarkError: No benchmark of these data judges stored answers, or answers are missing
            or wrong.
    """
    start_processes(seed)
    folder = new_folder(output_dir)
    stored = _read_predictions(Path(predictions))
    source = DataSource(data) if isinstance(data, str) else data
    dataset = source.load()
    judge = _judge(dataset.splits["report"])
    benchmark, answers = judge.with_predictions(
        dataset.splits["report"], stored, split="report", seed=seed
    )
    scores = [benchmark.score(r, answers[r.id]) for r in benchmark.requests()]
    rows = [MetricRow.measured(PHASE, m) for m in benchmark.metrics(scores)]
    write_samples(folder, PHASE, benchmark.name, scores)
    command = command_words("evaluate", source, seed, predictions=predictions)
    missing = not_measured(rows)
    record = recording.scoring(command, dataset, seed, rows=rows, not_measured=missing)
    return publish(record, folder)


def command_words(
    name: str,
    source: DataSource | None,
    seed: int,
    *,
    model: ModelConfig | None = None,
    **options: Any,
) -> list[str]:
    """Words of the command that repeats a scoring."""
    words = ["unskew", name]
    words += ["--data", source.name_or_path, "--format", source.format] if source else []
    if model is not None:
        words += ["--model", model.name_or_path, "--dtype", model.dtype]
        words += ["--revision", model.revision] if model.revision else []
    for ours, theirs in ((source and source.columns) or {}).items():
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


def _judge(examples: Examples) -> type[JudgesPredictions]:
    """The benchmark that these data are for, if it judges stored answers."""
    loaded = {name: BENCHMARKS.load(name) for name in BENCHMARKS}
    able = {name: cls for name, cls in loaded.items() if hasattr(cls, "with_predictions")}
    for cls in able.values():
        if cls.serves(examples):
            return cls
    served = ", ".join(name for name, cls in loaded.items() if cls.serves(examples))
    raise BenchmarkError(
        f"stored answers are judged by {', '.join(able)}; these data serve {served or 'none'}"
    )


def _read_predictions(path: Path) -> Any:
    """The JSON value of a file, or the list of its JSON lines."""
    if not path.is_file():
        raise DataError(f"no predictions file {path}")
    source = open_source(str(path))
    assert isinstance(source, TextSource)
    try:
        return json.loads(source.text)
    except ValueError as error:
        lines = [line for line in source.text.split("\n") if line.strip()]
        whole = error
    rows: list[Any] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == 1:
                raise DataError(
                    f"{path} cannot be read as JSON: {whole}; write the scores again"
                ) from error
            raise DataError(f"{path}:{number}: is not JSON: {error}; write it again") from error
    return rows
