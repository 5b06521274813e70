"""Runs that begin alike measure the base model and the oracle once, and share what they found."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from unskew import __version__, recording
from unskew.errors import DataError
from unskew.evaluation.processes import by_first
from unskew.files import atomic_folder, write_json
from unskew.reports.record import MetricRow
from unskew.reports.storage import read_json
from unskew.stages.workshop import Workshop
from unskew.training.launch import is_main_process

__all__ = ["Baselines"]

_ROWS, _SAMPLES, _LOCK = "metrics.json", "samples", ".lock"


class Baselines:
    """A folder with an entry for each way in which runs can begin.

    An entry holds metrics and per-example scores; a run takes them over instead of measuring what
    another has measured with the same model, data, settings, seed, threads and libraries. Where a
    judge, a classifier or lm-evaluation-harness has a say nothing is shared: their weights and
    files are not looked at here, and a judge's replies belong to the run that asked.

    Args:
        root: The folder; None shares nothing.
        workshop: The run.
    """

    def __init__(self, root: Path | None, workshop: Workshop) -> None:
        self._run_dir = workshop.output_dir
        is_known = _asks_nobody_else(workshop)
        self._entry = root / _digest(_decisive(workshop)) if root and is_known else None

    def take(self) -> list[MetricRow] | None:
        """What was measured, with its samples copied into the run; None where nothing was.

        Raises:
            DataError: The entry is damaged; the message names it.
        """
        return by_first(self._taken)

    def leave(self, rows: Sequence[MetricRow]) -> None:
        """Keep what this run measured, and the samples it has written so far, for others."""
        if self._entry is None or not is_main_process():
            return
        self._entry.parent.mkdir(parents=True, exist_ok=True)
        # Two runs that began at once leave the same numbers; whoever comes second leaves none.
        with FileLock(self._entry.parent / _LOCK):
            if self._entry.exists():
                return
            with atomic_folder(self._entry) as folder:
                shutil.copytree(self._run_dir / _SAMPLES, folder / _SAMPLES)
                write_json(folder / _ROWS, [row.model_dump(mode="json") for row in rows])

    def _taken(self) -> list[MetricRow] | None:
        if self._entry is None or not self._entry.is_dir():
            return None
        try:
            rows = [MetricRow.model_validate(row) for row in read_json(self._entry / _ROWS)]
            shutil.copytree(self._entry / _SAMPLES, self._run_dir / _SAMPLES, dirs_exist_ok=True)
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{self._entry} is damaged: {error}; remove it") from error
        return rows


def _asks_nobody_else(workshop: Workshop) -> bool:
    evaluation, measuring = workshop.settings.evaluation, workshop.measuring
    return not (evaluation.judge or measuring.classifiers or measuring.tasks)


def _decisive(workshop: Workshop) -> dict[str, Any]:
    """All that can change a digit of what is measured before the first stage."""
    settings, loaded = workshop.settings, workshop.loaded
    world = workshop.world
    return {
        "unskew": __version__,
        "environment": recording.environment().model_dump(mode="json"),
        "threads": torch.get_num_threads(),
        "model": settings.model.model_dump(mode="json"),
        "fingerprint": recording.model_info(loaded).fingerprint,
        "tokenizer": loaded.encoder.fingerprint(),
        "oracle": None if world is None else str(world.oracle),
        "data": settings.data.model_dump(mode="json"),
        "data_sha256": workshop.dataset.sha256,
        "own_data": {name: info.sha256 for name, info in workshop.measuring.own_data().items()},
        "evaluation": settings.evaluation.model_dump(mode="json"),
        "seed": settings.seed,
    }


def _digest(decisive: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
