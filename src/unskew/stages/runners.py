"""From the stages of a recipe to what runs them; making them checks the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from unskew.assemble import Parts, build, choice_for, construct
from unskew.edits import EDITS, PROJECTIONS
from unskew.errors import ConfigError
from unskew.saliency import SALIENCIES
from unskew.saliency.choice import Chooser
from unskew.schema import (
    DecodeStage,
    EditStage,
    MetaEditStage,
    ProjectStage,
    RunConfig,
    SaliencyStage,
)
from unskew.stages.decode import DecodeRunner
from unskew.stages.edit import EditRunner
from unskew.stages.meta_edit import MetaEditRunner
from unskew.stages.project import ProjectRunner
from unskew.stages.saliency import BIAS, REASON, SaliencyRunner
from unskew.stages.train import TrainRunner
from unskew.stages.workshop import Workshop

Runner = TrainRunner | SaliencyRunner | EditRunner | MetaEditRunner | ProjectRunner | DecodeRunner
MakeRunner = Callable[[Workshop], Runner]


def runners_for(settings: RunConfig, categories: tuple[str, ...]) -> dict[str, MakeRunner]:
    """What makes the runner of each stage, in order, once there is a model.

    Args:
        settings: Of the run.
        categories: Categories of the train split.

    Raises:
        ConfigError, UnknownName: A part's name or setting is wrong, in whichever stage.
    """
    found: dict[str, MakeRunner] = {}
    saliency_stages = [s.name for s in settings.stages if s.kind == "saliency"]
    low_rank = {s.name for s in settings.stages if s.kind == "edit" and s.lora_rank is not None}
    for index, stage in enumerate(settings.stages):
        path = f"stages.{index}"
        if isinstance(stage, SaliencyStage):
            found[stage.name] = _saliency(stage, path)
        elif isinstance(stage, EditStage):
            found[stage.name] = _edit(stage, path, found.get(str(stage.mask)))
        elif isinstance(stage, MetaEditStage):
            choice = choice_for(stage.choice)
            found[stage.name] = partial(MetaEditRunner, stage=stage, choice=choice)
        elif isinstance(stage, ProjectStage):
            found[stage.name] = _project(stage, path)
        elif isinstance(stage, DecodeStage):
            found[stage.name] = partial(DecodeRunner, stage=stage, path=f"{path}.decoder")
        elif stage.start in low_rank:
            raise ConfigError(
                f"{path}.start: the stage starts from {stage.start}, which leaves an adapter; take "
                "lora_rank off there, and make the adapter at the end with unskew merge --lora-rank"
            )
        else:
            parts = Parts(stage, categories, path, saliency_stages)
            found[stage.name] = partial(TrainRunner, stage=stage, parts=parts)
    return found


def _saliency(stage: SaliencyStage, path: str) -> MakeRunner:
    criteria = {BIAS: build(SALIENCIES, stage.bias, f"{path}.bias")}
    if stage.reason is not None:
        criteria[REASON] = build(SALIENCIES, stage.reason, f"{path}.reason")
    chooser = construct(Chooser, "choose", stage.choose, f"{path}.choose")
    return partial(SaliencyRunner, stage=stage, criteria=criteria, chooser=chooser)


def _project(stage: ProjectStage, path: str) -> MakeRunner:
    make = partial(build, PROJECTIONS, stage.projection, f"{path}.projection")
    make()
    return partial(ProjectRunner, stage=stage, make=make, choice=choice_for(stage.choice))


def _edit(stage: EditStage, path: str, saliency: MakeRunner | None) -> MakeRunner:
    def make(masks: Mapping[str, Any] | None) -> Any:
        given = {} if masks is None else {"mask": masks}
        return build(EDITS, stage.edit, f"{path}.edit", **given)

    make(None if stage.mask is None else {})
    if stage.controls and stage.mask is None:
        raise ConfigError(f"{path}.controls: an edit without a mask has no mask to compare with")
    if stage.controls and stage.lora_rank is not None:
        raise ConfigError(
            f"{path}.controls: masks are compared on exact changes, and lora_rank reaches past a "
            "mask; run the controls without it"
        )

    def runner(workshop: Workshop) -> EditRunner:
        chosen = saliency(workshop) if saliency else None
        of_mask = chosen if isinstance(chosen, SaliencyRunner) else None
        return EditRunner(workshop, stage, make, choice_for(stage.choice), of_mask)

    return runner
