"""A run from front to back: measure, go through the stages, measure again, publish."""

from __future__ import annotations

import copy
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unskew import __version__, recording
from unskew.baselines import Baselines
from unskew.comparison.controls import held_against_controls
from unskew.measuring import not_measured
from unskew.models.deltas import AppliedDelta
from unskew.models.load import load_model
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import ModelReference, Reference
from unskew.reports.card import write_model_card
from unskew.reports.page import PAGE_FILE, render_page
from unskew.reports.record import (
    RECORD_FILE,
    MetricRow,
    NotMeasured,
    RunRecord,
    StageRow,
)
from unskew.schema import Stage
from unskew.stages.runners import MakeRunner
from unskew.stages.train import TrainRunner, take_off
from unskew.stages.workshop import (
    ADAPTER,
    DECODER,
    DELTA,
    PROJECTION,
    ControlChange,
    Outcome,
    Workshop,
)
from unskew.training.launch import is_main_process, wait_for_everyone
from unskew.worlds import ORACLE

CONFIG = "config.yaml"
BEFORE, AFTER = "before", "after"
LISTS = ("history", "train_log", "decisions", "selections", "warnings")
"""Fields of the record to which every stage adds its own."""


@dataclass(frozen=True)
class Pipeline:
    """One run, from the accepted inputs on."""

    workshop: Workshop
    makers: Mapping[str, MakeRunner]
    """What makes the runner of each stage, in order."""
    scoped: Any
    """The model with the scope of the first stage on it, which computes what the model does; None
    where that stage has none."""
    baselines: Path | None = None
    """Where runs that begin alike share what they measured first; nothing is shared if None."""

    def run(self, *, resume: bool) -> RunRecord:
        """Go through the stages, or those that are left.

        Args:
            resume: Take over what an earlier process left in the folder.
        """
        workshop = self.workshop
        found = self._stored() if resume else None
        if found is not None and found.find(phase=AFTER, category=None):
            workshop.tell(
                f"{workshop.output_dir} holds a finished run; there is nothing left to do"
            )
            if is_main_process() and not (workshop.output_dir / PAGE_FILE).is_file():
                self._publish(found)
            return found
        begun = time.perf_counter()
        record = found or self._before(ScoringPath(self.scoped or workshop.loaded.model))
        *earlier, last = workshop.settings.stages
        for stage in earlier:
            record = self._earlier_stage(stage, record, resume=resume)
        record, outcome = self._stage(last, record, resume=resume)
        workshop.tell("measuring again")
        path = outcome.decoded or ScoringPath(outcome.policy)
        rows = self._phase(AFTER, path, workshop.references(outcome.reference))
        outcome.put_back()
        for control in outcome.controls:
            rows += self._control(control)
            record = record.model_copy(update={"warnings": [*record.warnings, control.note]})
        timings = {"total": time.perf_counter() - begun}
        record = record.model_copy(
            update={
                "metrics": [*record.metrics, *rows],
                "proof_of_effect": outcome.proof,
                "generations": recording.sampled_texts(workshop.output_dir),
                "not_measured": [*not_measured(rows), _other_seeds(workshop.settings.seed)],
                "timings": {**record.timings, **timings},
                "benchmark_seconds": {
                    **record.benchmark_seconds,
                    **workshop.measuring.timed.seconds,
                },
                "peak_memory_bytes": recording.peak_memory_bytes(),
                **recording.decoding(outcome.decoded),
            }
        )
        if is_main_process():
            record.save(workshop.output_dir)
            if outcome.controls:
                paired = held_against_controls(workshop.output_dir, seed=workshop.settings.seed)
                record = record.model_copy(update={"controls": paired})
            self._publish(record)
        wait_for_everyone()
        return record

    def _control(self, control: ControlChange) -> list[MetricRow]:
        model = self.workshop.loaded.model
        base = ModelReference(copy.deepcopy(model))
        applied = AppliedDelta(model, control.delta)
        rows = self._phase(control.phase, ScoringPath(model), self.workshop.references(base))
        applied.undo()
        return rows

    def _earlier_stage(self, stage: Stage, record: RunRecord, *, resume: bool) -> RunRecord:
        """Run a stage that others follow, unless it is done; the base model is then as it was."""
        if stage.name in [row.name for row in record.stages]:
            if stage is self.workshop.settings.stages[0] and self.scoped is not None:
                take_off(self.scoped)
            return record
        record, outcome = self._stage(stage, record, resume=resume)
        outcome.put_back()
        if is_main_process():
            record.save(self.workshop.output_dir)
        return record

    def _stage(self, stage: Stage, record: RunRecord, *, resume: bool) -> tuple[RunRecord, Outcome]:
        """Run one stage and write down what it found."""
        begun = time.perf_counter()
        runner = self.makers[stage.name](self.workshop)
        if isinstance(runner, TrainRunner):
            is_first = stage is self.workshop.settings.stages[0]
            outcome = runner.run(self.scoped if is_first else None, resume=resume)
        else:
            outcome = runner.run()
        fields = dict(outcome.fields)
        row = StageRow(
            name=stage.name,
            kind=stage.kind,
            result=fields.pop("result"),
            num_tokens=fields.pop("num_tokens", None),
        )
        is_only = len(self.workshop.settings.stages) == 1
        timing = {"training" if is_only else stage.name: time.perf_counter() - begun}
        grown = {key: [*getattr(record, key), *fields.pop(key, [])] for key in LISTS}
        update = {**grown, **fields, "stages": [*record.stages, row]}
        update["timings"] = {**record.timings, **timing}
        return record.model_copy(update=update), outcome

    def _stored(self) -> RunRecord | None:
        exists = (self.workshop.output_dir / RECORD_FILE).is_file()
        return RunRecord.load(self.workshop.output_dir) if exists else None

    def _before(self, path: ScoringPath) -> RunRecord:
        """The record with the baseline in it, saved so that a resumed run finds it."""
        workshop, settings = self.workshop, self.workshop.settings
        loaded, dataset = workshop.loaded, workshop.dataset
        num_pairs = len(dataset.splits["report"].pairs)
        begun, timings = time.perf_counter(), {}
        shared = Baselines(self.baselines, workshop)
        rows = shared.take()
        if rows is None:
            workshop.tell(
                f"measuring {loaded.name_or_path} on {num_pairs} pairs it will not learn from"
            )
            rows = self._measured_before(path)
            shared.leave(rows)
            timings = {"baseline evaluation": time.perf_counter() - begun}
        else:
            workshop.tell(f"{loaded.name_or_path} was measured by another run of this folder")
        again = ["unlearn", str(workshop.output_dir / CONFIG), "--output-dir", "NEW_FOLDER"]
        record = RunRecord(
            unskew_version=__version__,
            command=recording.command_line(),
            recipe=settings.recipe,
            created=recording.now(),
            seed=settings.seed,
            config_sha256=settings.sha256(),
            environment=recording.environment(),
            model=recording.model_info(loaded),
            data=recording.data_info(dataset),
            benchmark_data=workshop.measuring.own_data(),
            metrics=rows,
            timings=timings,
            benchmark_seconds=workshop.measuring.timed.seconds,
            reproduce=shlex.join(["unskew", *again]),
        )
        if is_main_process():
            record.save(workshop.output_dir)
        return record

    def _measured_before(self, path: ScoringPath) -> list[MetricRow]:
        """The base model, and the oracle where there is one."""
        workshop = self.workshop
        rows = self._phase(BEFORE, path, workshop.references(None))
        if workshop.world is not None:
            oracle = load_model(str(workshop.world.oracle))
            rows += self._phase(ORACLE, ScoringPath(oracle.model), {})
        return rows

    def _phase(
        self, phase: str, path: ScoringPath, references: Mapping[str, Reference]
    ) -> list[MetricRow]:
        workshop = self.workshop
        return workshop.measuring.report(
            phase, path, workshop.loaded.encoder, references, workshop.output_dir
        )

    def _publish(self, record: RunRecord) -> None:
        """Record, model card and page."""
        record.save(self.workshop.output_dir)
        output_dir, settings = self.workshop.output_dir, self.workshop.settings
        for folder in (output_dir / kind for kind in (ADAPTER, DELTA, PROJECTION, DECODER)):
            if folder.is_dir():
                write_model_card(
                    record,
                    folder,
                    name=output_dir.name,
                    method=settings.description,
                    paper=settings.source,
                )
        render_page(output_dir)


def _other_seeds(seed: int) -> NotMeasured:
    return NotMeasured(what="other seeds", why=f"one training seed; repeat with seed={seed + 1}")
