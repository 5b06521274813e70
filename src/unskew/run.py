"""The composition root: a configuration goes in; an artefact, a record and a page come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from unskew import config
from unskew.assemble import check_lengths, data_for, model_for
from unskew.decoding import attach_decoder
from unskew.evaluation.decoding import DecodedPath
from unskew.hub.attach import attach
from unskew.hub.decoders import is_decoder
from unskew.measuring import Measuring
from unskew.models.load import load_model
from unskew.output import claim_folder
from unskew.pipeline import AFTER, BEFORE, CONFIG, Pipeline
from unskew.reports.record import MetricRow, RunRecord
from unskew.schema import RunConfig
from unskew.stages.runners import runners_for
from unskew.stages.train import TrainRunner
from unskew.stages.workshop import ADAPTER, DECODER, DELTA, MODEL, PROJECTION, Tell, Workshop
from unskew.training.launch import is_main_process, start, wait_for_everyone
from unskew.worlds import world_for

__all__ = ["AFTER", "BEFORE", "Run", "execute", "unlearn"]


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
        """The unlearned model, ready for `generate`; the base where a decoder is the result."""
        if (self.output_dir / MODEL).is_dir():
            return load_model(str(self.output_dir / MODEL)).model
        settings = config.parse(config.read_yaml(self.output_dir / CONFIG))
        loaded = model_for(settings.model, world_for(settings.model.name_or_path))
        if is_decoder(self.output_dir / DECODER):
            return loaded.model
        folders = [self.output_dir / kind for kind in (ADAPTER, DELTA, PROJECTION)]
        kept = self.record.checkpoint
        if kept is not None and kept.strength == 0:
            return loaded.model  # no strength was better than the base, so nothing was saved
        return attach(loaded, next((f for f in folders if f.is_dir()), folders[0]))

    @cached_property
    def decoder(self) -> DecodedPath | None:
        """The base model as the run's decoder has it read; None where the result is no decoder.

        `model.generate(**inputs, logits_processor=[run.decoder.processor(inputs.attention_mask)])`
        with `model = run.decoder.model`.
        """
        folder = self.output_dir / DECODER
        if not is_decoder(folder):
            return None
        settings = config.parse(config.read_yaml(self.output_dir / CONFIG))
        world = world_for(settings.model.name_or_path)
        return attach_decoder(model_for(settings.model, world), folder)


def unlearn(  # noqa: PLR0913 - mirrors the command line; all but the first are keywords
    recipe: str,
    *,
    model: str | None = None,
    data: str | None = None,
    output_dir: str | Path,
    config_file: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    tell: Tell = lambda _: None,
) -> Run:
    """Measure a model, unlearn by a recipe, measure again, and write artefact, record and page.

    Args:
        recipe: Name of a recipe (`unskew list`) or a YAML file.
        model: Hub id, folder, or a world's name; may stand in the recipe instead.
        data: File, folder, hub id, or a world's name; may stand in the recipe instead.
        output_dir: A new folder for the run; with `resume` the folder of the run to go on with.
        config_file: YAML with further settings.
        options: Dotted setting -> value.
        overrides: `key=value` strings, as on the command line.
        resume: Go on where a run was cut off; a run that is finished is left as it is.
        tell: Given a line before each stage.

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
    return execute(settings, Path(output_dir), resume=resume, tell=tell)


def execute(
    settings: RunConfig,
    output_dir: Path,
    *,
    resume: bool = False,
    tell: Tell = lambda _: None,
    baselines: Path | None = None,
) -> Run:
    """Run a checked configuration; see `unlearn`.

    Args:
        settings: Of the run.
        output_dir: A new folder for it.
        resume: Go on where it was cut off.
        tell: Given a line before each stage.
        baselines: Folder in which runs that begin alike share what they measured of the base.
    """
    start(settings.seed)
    with _claimed(output_dir, settings, resume=resume):
        world = world_for(settings.model.name_or_path, settings.data.name_or_path)
        dataset = data_for(settings.data)
        categories = tuple(sorted({p.category for p in dataset.splits["train"].pairs}))
        makers = runners_for(settings, categories)
        measuring = Measuring(dataset, settings.evaluation, settings.seed)
        loaded = model_for(settings.model, world)
        check_lengths(dataset, loaded.encoder)
        workshop = Workshop(settings, output_dir, world, dataset, measuring, loaded, tell)
        runners = [make(workshop) for make in makers.values()]
        for runner in runners:
            runner.check()
        scoped = runners[0].scoped() if isinstance(runners[0], TrainRunner) else None
    return Run(output_dir, Pipeline(workshop, makers, scoped, baselines).run(resume=resume))


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
            (folder / CONFIG).unlink(missing_ok=True)
            if is_new:
                folder.rmdir()
        raise
    wait_for_everyone()
