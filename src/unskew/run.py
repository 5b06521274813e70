"""The composition root: a configuration goes in; an artefact, a record and a page come out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from unskew import __version__, config, recording
from unskew.assemble import (
    ORACLE,
    Parts,
    chunks_for,
    claim_folder,
    data_for,
    model_for,
    oracle_reference,
    world_for,
)
from unskew.config import RunConfig
from unskew.hub.artifacts import Manifest, attach_adapter, save_artifact
from unskew.measuring import GENERATION, Measuring, not_measured
from unskew.models.load import LoadedModel, load_model
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import Reference, reference_for
from unskew.reports.page import render_page
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
from unskew.training.launch import is_main_process, start, wait_for_everyone
from unskew.training.proof import Effect, Snapshot, reload_difference
from unskew.training.trainer import UnlearningTrainer
from unskew.types import Dataset, Segment
from unskew.world.teach import TaughtWorld

ADAPTER, MODEL = "adapter", "model"
BEFORE, AFTER = "before", "after"
PROOF_ROWS = 8


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, its record, its model."""

    output_dir: Path
    record: RunRecord

    def metrics(self, benchmark: str, metric: str, category: str | None = None) -> list[MetricRow]:
        """Rows of a metric before and after, by category, with intervals.

        Args:
            benchmark: E.g. `stereoset`.
            metric: E.g. `ss`.
            category: Only this one; all, and `overall`, if None.
        """
        return self.record.find(benchmark=benchmark, metric=metric, category=category)

    @cached_property
    def model(self) -> Any:
        """The unlearned model, ready for `generate`."""
        if (self.output_dir / MODEL).is_dir():
            return load_model(str(self.output_dir / MODEL)).model
        settings = config.parse(config.read_yaml(self.output_dir / "config.yaml"))
        world = world_for(settings.model.name_or_path, "")
        return attach_adapter(model_for(settings.model, world), self.output_dir / ADAPTER)


def unlearn(
    recipe: str,
    *,
    model: str | None = None,
    data: str | None = None,
    output_dir: str | Path,
    config_file: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
) -> Run:
    """Measure a model, unlearn by a recipe, measure again, and write artefact, record and page.

    Args:
        recipe: Name of a recipe (`unskew list`) or a YAML file.
        model: Hub id, folder, or `world`; may stand in the recipe instead.
        data: File, folder, hub id, or `world`; may stand in the recipe instead.
        output_dir: A new folder for the run; with `resume` the folder of the run to go on with.
        config_file: YAML with further settings.
        options: Dotted setting -> value.
        overrides: `key=value` strings, as on the command line.
        resume: Go on where a run was cut off.

    Raises:
        UnskewError: Anything that is wrong; see `unskew.errors`.
    """
    named = {"model.name_or_path": model, "data.name_or_path": data}
    settings = config.load(
        recipe,
        file=Path(config_file) if config_file else None,
        options={**(options or {}), **{k: v for k, v in named.items() if v is not None}},
        overrides=overrides,
    )
    return execute(settings, Path(output_dir), resume=resume)


def execute(settings: RunConfig, output_dir: Path, *, resume: bool = False) -> Run:
    """Run a checked configuration; see `unlearn`."""
    start(settings.seed)
    with _claimed(output_dir, settings, resume=resume):
        world = world_for(settings.model.name_or_path, settings.data.name_or_path)
        dataset = data_for(settings.data)
        categories = tuple(sorted({p.category for p in dataset.splits["train"].pairs}))
        parts = Parts(settings.stages[0], categories, "stages.0")
        measuring = Measuring(dataset, settings.evaluation, settings.seed)
        loaded = model_for(settings.model, world)
    return _Pipeline(settings, output_dir, world, dataset, parts, measuring, loaded).run(resume)


@contextmanager
def _claimed(folder: Path, settings: RunConfig, *, resume: bool) -> Iterator[None]:
    """Take the folder; give it back if the run's inputs turn out to be wrong."""
    is_new = not folder.exists()
    if is_main_process():
        claim_folder(folder, settings.to_yaml(), resume=resume)
    try:
        yield
    except BaseException:
        if is_main_process() and not resume:
            (folder / "config.yaml").unlink(missing_ok=True)
            if is_new:
                folder.rmdir()
        raise
    wait_for_everyone()


@dataclass
class _Pipeline:
    """One run, from the accepted inputs on."""

    settings: RunConfig
    output_dir: Path
    world: TaughtWorld | None
    dataset: Dataset
    parts: Parts
    measuring: Measuring
    loaded: LoadedModel

    def run(self, resume: bool) -> Run:
        finished = self._stored() if resume else None
        if finished is not None and finished.find(phase=AFTER, category=None):
            return Run(self.output_dir, finished)
        begun = time.perf_counter()
        record = finished or self._before()
        scoped = self.parts.scope.apply(self.loaded.model)
        path = ScoringPath(scoped)
        snapshot = Snapshot(scoped)
        reference = reference_for(path)
        trainer = self._trainer(scoped, path, reference)
        trained = time.perf_counter()
        trainer.fit(resume=resume)
        effect = snapshot.effect(scoped)
        trainer.load_best()
        trained = time.perf_counter() - trained
        difference = self._save(scoped, trainer)
        fields = recording.training(trainer, "train")
        references = {"base": reference, **oracle_reference(self.world)}
        rows = self._phase(AFTER, path, references)
        record = record.model_copy(
            update={
                **fields,
                "metrics": [*record.metrics, *rows],
                "proof_of_effect": _proof(effect, difference),
                "generations": _generations(self.output_dir),
                "not_measured": [
                    *not_measured(rows),
                    NotMeasured(what="other seeds", why="one training seed; repeat with seed=1"),
                ],
                "timings": {
                    **record.timings,
                    "training": trained,
                    "total": time.perf_counter() - begun,
                },
            }
        )
        if is_main_process():
            self._publish(record)
        wait_for_everyone()
        return Run(self.output_dir, record)

    def _stored(self) -> RunRecord | None:
        exists = (self.output_dir / RECORD_FILE).is_file()
        return RunRecord.load(self.output_dir) if exists else None

    def _before(self) -> RunRecord:
        """The record with the baseline in it, saved so that a resumed run finds it."""
        path = ScoringPath(self.loaded.model)
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
            metrics=rows,
            timings={"baseline evaluation": time.perf_counter() - begun},
            reproduce=f"unskew unlearn {self.output_dir / 'config.yaml'} --output-dir NEW_FOLDER",
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

    def _save(self, scoped: Any, trainer: UnlearningTrainer) -> float | None:
        """Write the artefact; how far it is from the model in memory when read back."""
        has_adapter = hasattr(scoped, "peft_config")
        folder = self.output_dir / (ADAPTER if has_adapter else MODEL)
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
            splits=self.settings.data.splits.model_dump(),
        )
        if is_main_process():
            save_artifact(scoped, self.loaded.tokenizer, folder, manifest)
        wait_for_everyone()
        if not has_adapter:
            return None
        pairs = self.dataset.splits["report"].pairs[:PROOF_ROWS]
        rows = self.loaded.encoder.encode([Segment(p.stereotype) for p in pairs])
        return reload_difference(scoped, folder, rows)

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


def _proof(effect: Effect, difference: float | None) -> ProofOfEffect:
    return ProofOfEffect(**asdict(effect), reload_max_abs_difference=difference)


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
