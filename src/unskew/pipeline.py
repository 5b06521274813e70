"""The stages of a run, in the order in which a reader of its report meets them."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unskew import __version__, recording
from unskew.assemble import ORACLE, Parts, chunks_for, oracle_reference
from unskew.config import RunConfig
from unskew.hub.artifacts import Manifest, digests, save_artifact
from unskew.hub.deltas import delta_reload_difference, save_delta
from unskew.measuring import GENERATION, Measuring, not_measured
from unskew.models.load import LoadedModel, load_model
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import Reference, reference_for
from unskew.reports.page import PAGE_FILE, render_page
from unskew.reports.record import (
    RECORD_FILE,
    GeneratedText,
    MetricRow,
    NotMeasured,
    ProofOfEffect,
    RunRecord,
)
from unskew.reports.render import write_model_card
from unskew.reports.storage import read_samples, samples_path
from unskew.training.launch import is_main_process, wait_for_everyone
from unskew.training.proof import Effect, Snapshot, reload_difference
from unskew.training.trainer import UnlearningTrainer
from unskew.types import Dataset, Segment
from unskew.updates.masked import kept_delta
from unskew.world.teach import TaughtWorld

ADAPTER, DELTA, MODEL, CONFIG = "adapter", "delta", "model", "config.yaml"
BEFORE, AFTER = "before", "after"
PROOF_ROWS = 8
Tell = Callable[[str], object]


@dataclass(frozen=True)
class Pipeline:
    """One run, from the accepted inputs on: measure, train, save, measure, publish."""

    settings: RunConfig
    output_dir: Path
    world: TaughtWorld | None
    dataset: Dataset
    parts: Parts
    measuring: Measuring
    loaded: LoadedModel
    scoped: Any
    """The model with the scope applied; until the first step it computes what the model does."""
    tell: Tell

    def run(self, *, resume: bool) -> RunRecord:
        """Go through the stages, or those that are left.

        Args:
            resume: Take over what an earlier process left in the folder.
        """
        found = self._stored() if resume else None
        if found is not None and found.find(phase=AFTER, category=None):
            self.tell(f"{self.output_dir} holds a finished run; there is nothing left to do")
            if is_main_process() and not (self.output_dir / PAGE_FILE).is_file():
                self._publish(found)
            return found
        begun = time.perf_counter()
        scoped, path = self.scoped, ScoringPath(self.scoped)
        record = found or self._before(path)
        snapshot = Snapshot(scoped)
        reference = reference_for(path)
        trainer = self._trainer(scoped, path, reference)
        self.tell(
            f"unlearning by {self.settings.recipe}, {trainer.settings.max_steps} steps at most"
        )
        trained = time.perf_counter()
        trainer.fit(resume=resume)
        # A model that is even from the start is not trained, so nothing has to have moved.
        effect = snapshot.effect(scoped) if trainer.state.global_step else None
        trainer.load_best()
        trained = time.perf_counter() - trained
        proof = self._save(scoped, trainer, effect and snapshot.kept(effect, scoped))
        self.tell("measuring again")
        references = {"base": reference, **oracle_reference(self.world)}
        rows = self._phase(AFTER, path, references)
        timings = {"training": trained, "total": time.perf_counter() - begun}
        record = record.model_copy(
            update={
                **recording.training(trainer, "train"),
                "metrics": [*record.metrics, *rows],
                "proof_of_effect": proof,
                "generations": _generations(self.output_dir),
                "not_measured": [*not_measured(rows), _other_seeds(self.settings.seed)],
                "warnings": _warnings(trainer),
                "timings": {**record.timings, **timings},
            }
        )
        if is_main_process():
            self._publish(record)
        wait_for_everyone()
        return record

    def _stored(self) -> RunRecord | None:
        exists = (self.output_dir / RECORD_FILE).is_file()
        return RunRecord.load(self.output_dir) if exists else None

    def _before(self, path: ScoringPath) -> RunRecord:
        """The record with the baseline in it, saved so that a resumed run finds it."""
        num_pairs = len(self.dataset.splits["report"].pairs)
        self.tell(
            f"measuring {self.loaded.name_or_path} on {num_pairs} pairs it will not learn from"
        )
        begun = time.perf_counter()
        rows = self._phase(BEFORE, path, oracle_reference(self.world))
        if self.world is not None:
            oracle = load_model(str(self.world.oracle))
            rows += self._phase(ORACLE, ScoringPath(oracle.model), {})
        record = RunRecord(
            unskew_version=__version__,
            command=recording.command_line(),
            recipe=self.settings.recipe,
            created=recording.now(),
            seed=self.settings.seed,
            config_sha256=self.settings.sha256(),
            environment=recording.environment(),
            model=recording.model_info(self.loaded),
            data=recording.data_info(self.dataset),
            benchmark_data=self.measuring.own_data(),
            metrics=rows,
            timings={"baseline evaluation": time.perf_counter() - begun},
            reproduce=shlex.join(
                ["unskew", "unlearn", str(self.output_dir / CONFIG), "--output-dir", "NEW_FOLDER"]
            ),
        )
        if is_main_process():
            record.save(self.output_dir)
        return record

    def _phase(
        self, phase: str, path: ScoringPath, references: Mapping[str, Reference]
    ) -> list[MetricRow]:
        return self.measuring.report(phase, path, self.loaded.encoder, references, self.output_dir)

    def _trainer(self, scoped: Any, path: ScoringPath, reference: Reference) -> UnlearningTrainer:
        stage = self.settings.stages[0]
        training = replace(stage.training, seed=self.settings.seed)
        return UnlearningTrainer(
            scoped,
            self.loaded.encoder,
            chunks_for(stage, self.dataset.splits["train"], self.settings.seed),
            self.parts.objective,
            self.parts.rule,
            evaluate=self.measuring.selector(path, self.loaded.encoder, {"base": reference}),
            output_dir=self.output_dir,
            settings=training,
            controllers=self.parts.controllers,
            choice=self.parts.choice,
            reference=reference,
            config_sha256=self.settings.sha256(),
        )

    def _save(
        self, scoped: Any, trainer: UnlearningTrainer, effect: Effect | None
    ) -> ProofOfEffect | None:
        """Write the artefact and hold it against the model in memory."""
        has_adapter, is_masked = hasattr(scoped, "peft_config"), hasattr(scoped, "kept_weights")
        folder = self.output_dir / (ADAPTER if has_adapter else DELTA if is_masked else MODEL)
        info = recording.model_info(self.loaded)
        manifest = Manifest(
            recipe=self.settings.recipe,
            unskew_version=__version__,
            config_sha256=self.settings.sha256(),
            seed=self.settings.seed,
            step=trainer.choice.choose(trainer.history).step,
            base_model=info.name_or_path,
            base_fingerprint=info.fingerprint,
            model_type=info.model_type,
            tokenizer_fingerprint=self.loaded.encoder.fingerprint(),
            data_sha256=self.dataset.sha256,
        )
        splits = self.dataset.splits
        seen = digests([*splits["train"].pairs, *splits["select"].pairs])
        delta = kept_delta(scoped) if is_masked else {}
        if is_main_process() and delta:
            save_delta(delta, scoped, folder, manifest, seen)
        elif is_main_process() and not is_masked:
            save_artifact(scoped, self.loaded.tokenizer, folder, manifest, seen)
        wait_for_everyone()
        if effect is None:
            return None
        difference = None
        rows = [Segment(p.stereotype) for p in splits["report"].pairs[:PROOF_ROWS]]
        if has_adapter:
            difference = reload_difference(scoped, folder, self.loaded.encoder.encode(rows))
        elif delta:
            difference = delta_reload_difference(scoped, self.loaded, folder, rows)
        return ProofOfEffect(**asdict(effect), reload_max_abs_difference=difference)

    def _publish(self, record: RunRecord) -> None:
        """Record, model card and page."""
        record.save(self.output_dir)
        folder = self.output_dir / ADAPTER
        if folder.is_dir():
            write_model_card(
                record,
                folder,
                name=self.output_dir.name,
                method=self.settings.description,
                paper=self.settings.source,
            )
        render_page(self.output_dir)


def _other_seeds(seed: int) -> NotMeasured:
    return NotMeasured(what="other seeds", why=f"one training seed; repeat with seed={seed + 1}")


def _warnings(trainer: UnlearningTrainer) -> list[str]:
    """What a reader of the numbers should know first."""
    if trainer.state.global_step == 0:
        return ["the model was even before the run, so it was not trained"]
    if trainer.choice.choose(trainer.history).step == 0:
        return [
            "no evaluation during training was better than the model before it, all floors kept; "
            "the artefact changes nothing"
        ]
    return []


def _generations(run_dir: Path) -> list[GeneratedText]:
    """Sampled texts of both phases, side by side."""
    if not samples_path(run_dir, AFTER, GENERATION).is_file():
        return []
    before = {s.id: s.values for s in read_samples(run_dir, BEFORE, GENERATION)}
    return [
        GeneratedText(
            prompt=str(s.values["prompt"]),
            before=str(before[s.id]["text"]) if s.id in before else None,
            after=str(s.values["text"]),
        )
        for s in read_samples(run_dir, AFTER, GENERATION)
    ]
