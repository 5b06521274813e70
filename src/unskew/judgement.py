"""Judges stored replies again, without the model that wrote them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unskew import recording
from unskew.chat import ChatRequest, Conversation
from unskew.config import checked
from unskew.data.neutral import neutral_dataset
from unskew.errors import BenchmarkError, ConfigError
from unskew.evaluation.own_data import read_own
from unskew.judge_settings import JudgeConfig
from unskew.judging.panel import judges_for, panel_for
from unskew.measuring import is_judged, judged_options, not_measured
from unskew.output import new_folder
from unskew.protocols import AsksJudge
from unskew.recipes import read_yaml
from unskew.recording import data_info
from unskew.reports.record import MetricRow, RunRecord
from unskew.reports.storage import read_conversations, write_samples
from unskew.scoring import PHASE, command_words, publish
from unskew.training.launch import start as start_processes
from unskew.types import Answer


def judge_stored(
    benchmark: str,
    replies: str | Path,
    judge: str | Path | Mapping[str, Any],
    *,
    output_dir: str | Path,
    seed: int = 0,
) -> RunRecord:
    """Judge replies that a run stored, e.g. since its judging was cut off, or by another judge.

    Args:
        benchmark: `NAME:PLACE`, as the run was asked for it.
        replies: The run's file in `generated/`.
        judge: Settings of `evaluation.judge`, or a YAML file with them. With `store` naming that
            run's `judge/replies.jsonl`, what it had asked already is not asked again.
        output_dir: A new folder.
        seed: Of the bootstrap.

    Raises:
        ConfigError: A setting is wrong, or the benchmark has no judge.
        DataError: A file cannot be read.
        BenchmarkError: Replies are missing, or answer other turns.
        JudgeFailed: See `unskew.judging`.
    """
    start_processes(seed)
    settings = checked(JudgeConfig, judge if isinstance(judge, Mapping) else read_yaml(Path(judge)))
    judges = judges_for(settings)
    (own,) = read_own([benchmark])
    if not is_judged(own.benchmark):
        raise ConfigError(f"{own.benchmark} needs no judge; measure it with `unskew evaluate`")
    (entry,) = own.entries((), {**judged_options(settings), "seed": seed})
    asking = entry.benchmark
    assert isinstance(asking, AsksJudge)
    requests = {r.id: r for r in asking.requests() if isinstance(r, ChatRequest)}
    answers = _answers(requests, read_conversations(Path(replies)), replies)
    folder = new_folder(output_dir)
    judged = panel_for(settings, judges, folder).judge(asking, requests, answers)
    scores = [asking.score(r, judged[i]) for i, r in requests.items()]
    rows = [MetricRow.measured(PHASE, m) for m in asking.metrics(scores)]
    write_samples(folder, PHASE, entry.label, scores)
    told = None if isinstance(judge, Mapping) else judge
    words = command_words("judge", None, seed, replies=replies, judge=told)
    words.insert(2, benchmark)
    record = recording.scoring(
        words,
        neutral_dataset(),
        seed,
        rows=rows,
        not_measured=not_measured(rows),
        benchmark_data={own.label: data_info(own.dataset)},
    )
    return publish(record, folder)


def _answers(
    requests: Mapping[str, ChatRequest],
    stored: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]],
    place: str | Path,
) -> dict[str, Answer]:
    missing = [i for i in requests if i not in stored]
    if missing:
        raise BenchmarkError(
            f"{place} lacks {len(missing)} of {len(requests)} replies, first "
            f"{', '.join(missing[:5])}; give the data and the items_per_category of that run"
        )
    changed = [i for i, r in requests.items() if stored[i][0] != r.turns]
    if changed:
        raise BenchmarkError(
            f"{place}: {len(changed)} replies answer other turns than the data has, first "
            f"{', '.join(changed[:5])}; give the data of that run"
        )
    if extra := len(stored) - len(requests):
        warnings.warn(f"{place}: {extra} replies belong to no item asked here", stacklevel=3)
    return {i: Conversation(stored[i][1]) for i in requests}
