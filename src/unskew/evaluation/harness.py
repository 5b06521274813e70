"""Tasks of lm-evaluation-harness as benchmarks of a run, asked for as `lm_eval:TASK[:PLACE]`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from unskew.errors import BenchmarkError, UnknownName, UnskewError
from unskew.evaluation.harness_model import HarnessModel
from unskew.evaluation.runner import Runner
from unskew.lm_eval_tasks import task_folder
from unskew.registry import nearest
from unskew.statistics import Interval, wilson
from unskew.types import OVERALL, Metric, SampleScore

NAME = "lm_eval"
OURS = "unskew_"
"""Begins the names of our templates, which read a place that the user names."""
SHARES = {"acc", "acc_norm", "acc_bytes", "exact_match", "f1", "em", "pct_stereotype"}
"""Metrics that are fractions whatever the task."""
FEWSHOT_SEED = 1234
"""The harness's own default, so that its numbers come out."""
NUM_RESAMPLES = 1000
Z95 = 1.959964


def is_task(asked: str) -> bool:
    """Whether a benchmark is asked for as a task of the harness."""
    return asked.partition(":")[0] == NAME


@dataclass(frozen=True)
class HarnessTask:
    """A task, tag or group of the harness, with its data loaded."""

    name: str
    loaded: Mapping[str, Any]
    """What the harness's task manager gave for it."""

    @property
    def label(self) -> str:
        """Name of the progress bar and of the file of samples."""
        return f"{NAME}-{self.name}"

    def measure(self, runner: Runner) -> tuple[list[SampleScore], list[Metric]]:
        """Ask the model that the runner holds.

        Returns:
            What the harness found for each document, and its metrics: of the task, or of the
            group and of each of its tasks. The interval is the harness's standard error times
            1.96, or Wilson's where none or all are right; n is documents; the variant names task
            and version.
            and version.

        Raises:
            BenchmarkError: The task cannot be run with a language model alone.
        """
        try:
            found = _lm_eval("evaluator").evaluate(
                HarnessModel(runner, self.label),
                self.loaded,
                bootstrap_iters=NUM_RESAMPLES,
                log_samples=True,
            )
        except UnskewError:
            raise
        except ValueError as error:
            raise _explained(self.name, error) from error
        samples = [s for name in found["samples"] for s in _samples(name, found)]
        names = (*self.loaded.get("groups", {}), *self.loaded["tasks"])
        return samples, [m for name in names for m in _metrics(name, found)]


def load_tasks(asked: Iterable[str]) -> list[HarnessTask]:
    """Load tasks with their data, before any model is loaded.

    Args:
        asked: `lm_eval:arc_easy`, `lm_eval:unskew_arc:arc/ARC-Challenge_test.csv`, ...

    Raises:
        BenchmarkError: The harness is not installed, a task's data cannot be had, or a task runs
            code that a model wrote.
        UnknownName: No such task; the nearest is named.
    """
    return [_load(*words.split(":", 2)[1:]) for words in asked]


def _load(name: str = "", place: str = "") -> HarnessTask:
    is_ours = name.startswith(OURS)
    if is_ours != bool(place):
        how = f"{NAME}:{name}:FILE_OR_FOLDER" if is_ours else f"{NAME}:{name}"
        raise BenchmarkError(f"{NAME}:{name}{':' if place else ''}{place}: write {how}")
    manager = _lm_eval("tasks").TaskManager(
        include_path=task_folder(), include_defaults=not is_ours, metadata={name: place}
    )
    if name not in manager.task_index:
        raise UnknownName(
            f"lm-evaluation-harness has no task {name!r}{nearest(name, manager.all_tasks)} "
            "(`lm_eval ls tasks` lists them)"
        )
    try:
        loaded = manager.load(name)
    except UnskewError:
        raise
    # Whatever keeps a task's data away (hub client, fsspec, arrow), the remedy is the same.
    except Exception as error:
        raise _explained(name, error) from error
    for task in loaded["tasks"].values():
        if getattr(task, "UNSAFE_CODE", False):
            raise BenchmarkError(f"{NAME}:{name} runs code that the model wrote; run it by lm_eval")
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=FEWSHOT_SEED)
    return HarnessTask(name, loaded)


def _lm_eval(module: str) -> Any:
    try:
        found = import_module(f"lm_eval.{module}")
    except ModuleNotFoundError as error:
        raise BenchmarkError(
            f"{NAME}:... needs lm-evaluation-harness ({error}); pip install 'unskew[lm-eval]'"
        ) from error
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return found


def _explained(name: str, error: Exception) -> BenchmarkError:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return BenchmarkError(
        f"{NAME}:{name} cannot be run: {first}; offline its data must be in the local hub cache, "
        f"or take a template that reads a file ({NAME}:{OURS}arc:PLACE, ...)"
    )


def _metrics(name: str, found: Mapping[str, Any]) -> Iterator[Metric]:
    row = found["results"].get(name) or found.get("groups", {}).get(name, {})
    n = sum(found["n-samples"][task]["effective"] for task in _leaves(name, found))
    for key, value in row.items():
        metric, comma, filter_name = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = row.get(f"{metric}_stderr,{filter_name}")
        is_share = metric in SHARES
        yield Metric(
            benchmark=NAME,
            variant=_versioned(name, found),
            split="report",
            category=OVERALL,
            metric=_labelled(metric, filter_name),
            value=float(value),
            n=n,
            **_interval(float(value), error, n, is_share),
            ideal=1.0 if is_share and _is_higher_better(name, metric, found) else None,
            better="higher" if _is_higher_better(name, metric, found) else "lower",
            unit="fraction" if is_share else "as lm_eval",
        )


def _leaves(name: str, found: Mapping[str, Any]) -> list[str]:
    """Tasks below a group; a task itself."""
    below = found.get("group_subtasks", {}).get(name) or []
    return [leaf for child in below for leaf in _leaves(child, found)] or [name]


def _versioned(name: str, found: Mapping[str, Any]) -> str:
    return f"{name}@{found['versions'].get(name, 'unversioned')}"


def _is_higher_better(name: str, metric: str, found: Mapping[str, Any]) -> bool:
    return found["higher_is_better"].get(name, {}).get(metric) is not False


def _labelled(metric: str, filter_name: str) -> str:
    return metric if filter_name == "none" else f"{metric}-{filter_name}"


def _interval(value: float, error: Any, n: int, is_share: bool) -> dict[str, float | None]:
    """Standard error times 1.96; Wilson where none or all are right, which leaves no error."""
    bounds: Interval | None = None
    if is_share and value in (0, 1):
        bounds = wilson(value * n, n)
    elif isinstance(error, int | float):
        bounds = value - Z95 * error, value + Z95 * error
        bounds = (max(0.0, bounds[0]), min(1.0, bounds[1])) if is_share else bounds
    low, high = bounds or (None, None)
    return {"ci_low": low, "ci_high": high}


def _samples(task: str, found: Mapping[str, Any]) -> list[SampleScore]:
    """Numbers of each document, those of all filters together."""
    values: dict[str, dict[str, float | str]] = {}
    for sample in found["samples"][task]:
        own = values.setdefault(f"{task}-{sample['doc_id']}", {"variant": _versioned(task, found)})
        for metric in sample["metrics"]:
            if isinstance(sample[metric], int | float):
                own[_labelled(metric, sample["filter"])] = float(sample[metric])
    return [SampleScore(identity, task, "", own) for identity, own in values.items()]
