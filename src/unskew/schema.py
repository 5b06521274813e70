"""What the settings of a run may be: names, types, defaults, and what each is for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from unskew.editor_settings import EditorConfig, EditorTraining
from unskew.judge_settings import JudgeConfig
from unskew.rating import Quality
from unskew.recipes import Node
from unskew.registry import nearest
from unskew.types import RowSource, TrainSettings

Dtype = Literal["float32", "bfloat16", "float16"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelConfig(_Strict):
    """The model to work on."""

    name_or_path: str
    """Hub id, folder, or `world` or `world-questions` for an invented world's taught model."""
    revision: str | None = None
    """Branch, tag or commit of a hub repository."""
    dtype: Dtype = "float32"
    attn_implementation: str | None = None
    """Passed to transformers."""
    trust_remote_code: bool = False
    """Run code that comes with the model."""


class SplitConfig(_Strict):
    """Shares of train, select and report, cut by target and cluster."""

    train: float = Field(default=0.6, ge=0, le=1)
    select: float = Field(default=0.2, ge=0, le=1)
    report: float = Field(default=0.2, ge=0, le=1)
    seed: int = 0


class DataConfig(_Strict):
    """What to learn from and to report on."""

    name_or_path: str
    """File, folder, hub id, `world` or `world-questions`."""
    format: Literal["auto", "stereoset", "crows_pairs", "jsonl", "csv", "datasets", "bbq"] = "auto"
    columns: dict[str, str] | None = None
    """Our column name -> the file's, for JSONL, CSV and datasets folders."""
    categories: list[str] | None = None
    """Keep only these categories."""
    tasks: list[str] | None = None
    """Keep only these StereoSet tasks: intrasentence, intersentence."""
    revision: str | None = None
    report_data: str | None = None
    """Report on this data set instead of a part of name_or_path."""
    texts: str | None = None
    """File of plain text, one to a line, that joins the train split's documents."""
    splits: SplitConfig = SplitConfig()


class ChunkConfig(_Strict):
    """Examples of one optimizer step, over all processes, and where they come from."""

    forget: int = Field(default=4, ge=0)
    retain: int = Field(default=28, ge=0)
    unrelated: int = Field(default=28, ge=0)
    pairs: int = Field(default=0, ge=0)
    slots: int = Field(default=0, ge=0)
    """Whole pairs, compared as wholes, and at the place where their variants part."""
    texts: int = Field(default=0, ge=0)
    """Texts that name a group and their counterfactuals; needs word_table."""
    contexts: int = Field(default=0, ge=0)
    """Counterfactual contexts of a whole pair, at most; needs word_table."""
    word_table: str | None = None
    """JSON or YAML file, domain -> rows of words that stand for one another, or `targets`."""
    adversarial_ratio: float = Field(default=0.25, ge=0, lt=1)
    """Adversarial rows per forget row: .25 makes a fifth of the forget draws adversarial."""
    category_balance: Literal["equal", "natural"] = "equal"
    """Draw every category equally often, or in proportion to its pairs."""
    document_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the unrelated stream taken from plain documents, where the data has them."""
    question_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the retain stream taken from questions with their right answers (BBQ has them)."""
    without_start: float = Field(default=0.0, ge=0, le=1)
    """Share of every stream's rows shown without the start token, as StereoSet scores texts."""


class FloorConfig(_Strict):
    """How much worse than before a metric may become on the select split."""

    benchmark: str
    metric: str
    max_loss: float = Field(ge=0)
    """In the metric's unit, or a fraction of the value before where `relative`."""
    relative: bool = False


class ChoiceConfig(_Strict):
    """Which evaluation's weights are kept."""

    signal: Literal["ss", "mean_gap"] = "ss"
    window: float = Field(default=2.0, gt=0)
    """Half-width inside which a model counts as even, in the signal's unit."""
    over: Literal["worst", "average"] = "worst"
    """How categories are taken together: the worst, or the average over pairs."""
    floors: list[FloorConfig] = []


class TrainStage(_Strict):
    """Trains the model: a combination of parts."""

    kind: Literal["train"] = "train"
    name: str = "train"
    objective: Node
    rule: Node
    scope: Node
    """Of `masked`, the mask may be the name of an earlier saliency stage."""
    controllers: list[Node] = []
    choice: ChoiceConfig | None = ChoiceConfig()
    """null keeps the last weights, and evaluates nothing on the way."""
    start: str | None = None
    """Edit stage whose result it starts from, with a masked scope; the base model if null."""
    chunk: ChunkConfig = ChunkConfig()
    training: TrainSettings = TrainSettings()

    def needs(self) -> Iterable[tuple[str, str, str]]:
        """Earlier stages it reads: setting, name, kind."""
        if self.start is not None:
            yield "start", self.start, "edit"


class SaliencyStage(_Strict):
    """Finds the weights that are responsible for the bias and not for the rest."""

    kind: Literal["saliency"]
    name: str = "saliency"
    bias: Node
    """Criterion by which weights are held responsible for the biased rows."""
    bias_rows: dict[RowSource, int]
    """Source -> rows of it, as many of each category as can be."""
    shadow: str | None = None
    """Train stage that made the model biased, for criteria that need one."""
    min_rise: float = Field(default=5.0, ge=0)
    """Points of SS by which the shadow must be more biased than the base, on its own rows."""
    reason: Node | None = None
    """Criterion for what is to be kept."""
    reason_rows: dict[RowSource, int] = {}
    choose: Node = {}
    """How weights are chosen; see `unskew.saliency.choice.Chooser`."""
    control: Literal["random", "inverted", "all"] | None = None
    """Take as many weights of each tensor at random, or those with the lowest scores, or all of
    them instead: what the choice has to beat."""
    targets: Literal["attention", "all_linear"] = "all_linear"
    """Linear maps whose weights are looked at, where there is no shadow that says so."""
    category_rows: int = Field(default=0, ge=0)
    """Rows of each bias type, twice drawn, whose own saliency is held against the others'; 0 for
    no comparison. Costs two attributions for each type."""
    saliency_groups: int = Field(default=1, ge=1)
    """Groups of layers that are gone through one after the other; more take less memory."""

    def needs(self) -> Iterable[tuple[str, str, str]]:
        """Earlier stages it reads: setting, name, kind."""
        if self.shadow is not None:
            yield "shadow", self.shadow, "train"


class EditStage(_Strict):
    """Computes a change of weights from earlier ones, at a strength that the select split finds."""

    kind: Literal["edit"]
    name: str = "edit"
    edit: Node
    deltas: list[str] = Field(min_length=1)
    """Train stages whose changes are combined."""
    mask: str | None = None
    """Saliency stage whose mask the edit takes."""
    strengths: list[Annotated[float, Field(gt=0)]] = Field(default=[1.0], min_length=1)
    """Factors on the result that are tried on the select split."""
    refine: int = Field(default=0, ge=0)
    """Further strengths tried, each half way between the best and its better neighbour."""
    choice: ChoiceConfig = ChoiceConfig()
    controls: bool = False
    """Also report a random mask, the inverted one and none, each at the strength of equal bias."""
    lora_rank: int | None = Field(default=None, ge=1)
    """Leave the change as the nearest LoRA adapter of this rank, and measure that; a low rank
    reaches past a mask. null leaves the exact weight delta."""

    def needs(self) -> Iterable[tuple[str, str, str]]:
        """Earlier stages it reads: setting, name, kind."""
        yield from ((f"deltas.{i}", name, "train") for i, name in enumerate(self.deltas))
        if self.mask is not None:
            yield "mask", self.mask, "saliency"


class MetaEditStage(_Strict):
    """Trains a network that edits, then makes one edit of train pairs with it and keeps that."""

    kind: Literal["meta_edit"]
    name: str = "meta_edit"
    last_blocks: int = Field(default=1, ge=1)
    """Last blocks in which the output map of the MLP is edited."""
    modules: list[str] | None = Field(default=None, min_length=1)
    """Linear maps to edit instead, by full name; `*` stands for anything."""
    loss: Literal["squared_gap", "symmetric_kl", "official"] = "squared_gap"
    """What is uneven in a pair: see docs/methods.md."""
    num_edits: int = Field(default=128, ge=1)
    """Pairs of an edit."""
    batch_pairs: int = Field(default=64, ge=1)
    """Pairs in one forward pass, a divisor of num_edits. Changes memory, not results."""
    unrelated_weight: float = Field(default=0.3, ge=0)
    """Of unrelated texts' KL to the base."""
    documents: int = Field(default=64, ge=0)
    """Documents of a step's unrelated texts, beside the pairs' own, where the data has some."""
    without_start: float = Field(default=0.5, ge=0, le=1)
    """Share of pairs shown without the start token, as StereoSet scores texts."""
    editor: EditorConfig = EditorConfig()
    training: EditorTraining = EditorTraining()
    strengths: list[Annotated[float, Field(gt=0)]] = Field(default=[1.0], min_length=1)
    """Factors on the edit that are tried on the select split."""
    refine: int = Field(default=0, ge=0)
    """Further strengths tried, each half way between the best and its better neighbour."""
    choice: ChoiceConfig = ChoiceConfig()

    @model_validator(mode="after")
    def _batches_fit(self) -> Self:
        if self.num_edits % self.batch_pairs:
            raise ValueError(
                f"stages.{self.name}.num_edits is {self.num_edits}, no multiple of batch_pairs "
                f"({self.batch_pairs}); change one of them"
            )
        return self

    def needs(self) -> Iterable[tuple[str, str, str]]:
        """Earlier stages it reads: none."""
        return ()


class ProjectStage(_Strict):
    """Hides the group in hidden states, as far as the select split allows; changes no weight."""

    kind: Literal["project"]
    name: str = "project"
    projection: Node
    site: Literal["final"] | Annotated[int, Field(ge=0)] = "final"
    """`final` is what the head reads; a number is what that layer gives."""
    word_table: str = "targets"
    """JSON or YAML file, domain -> rows of words that stand for one another, or `targets`."""
    contexts: int = Field(default=512, ge=1)
    """Pairs of the train split whose contexts are read with other groups in them, at most."""
    versions: int = Field(default=8, ge=2)
    """Groups that each is read with, at most."""
    texts: int = Field(default=512, ge=0)
    """Unrelated sentences and documents of the train split, at most so many of each, that say what
    hidden states of other texts are like; without them those are moved at will."""
    strengths: list[Annotated[float, Field(gt=0)]] = Field(default=[1.0], min_length=1)
    """How far to the projected state: 1 erases, what is tried on the select split may go beyond."""
    refine: int = Field(default=0, ge=0)
    """Further strengths tried, each half way between the best and its better neighbour."""
    choice: ChoiceConfig = ChoiceConfig()

    def needs(self) -> Iterable[tuple[str, str, str]]:
        """Nothing: it reads the base model."""
        return ()


class DecodeStage(_Strict):
    """Reads the base model through a decoder, at a strength that the select split finds."""

    kind: Literal["decode"]
    name: str = "decode"
    decoder: Node
    word_table: str | None = None
    """JSON or YAML file, domain -> rows of words that stand for one another, or `targets`."""
    strengths: list[Annotated[float, Field(gt=0)]] = Field(default=[1.0], min_length=1)
    """Factors on the decoder's strength that are tried on the select split."""
    refine: int = Field(default=0, ge=0)
    """Further strengths tried, each half way between the best and its better neighbour."""
    choice: ChoiceConfig | None = ChoiceConfig()
    """null takes the last strength as it is, and evaluates nothing on the way."""

    def needs(self) -> Iterable[tuple[str, str, str]]:
        """Earlier stages it reads: none."""
        return ()


Stage = Annotated[
    TrainStage | SaliencyStage | EditStage | MetaEditStage | ProjectStage | DecodeStage,
    Field(discriminator="kind"),
]


class RatingConfig(_Strict):
    """What classifiers read and which they are; see docs/classifiers.md."""

    classifiers: dict[Quality, Node] = {}
    """Quality -> a classifier by its name, with its own settings; what has none is not measured."""
    prompts_per_group: int | None = Field(default=50, ge=1)
    """Prompts of each group that the model continues, in a fixed order; all if null."""
    max_new_tokens: int = Field(default=50, ge=1)
    """Of each continuation."""


class EvaluationConfig(_Strict):
    """What is measured before and after, and on the way."""

    benchmarks: list[str] = ["auto"]
    """`auto` takes every benchmark the data can serve, `guard` what unlearning must not damage;
    `NAME:PLACE` is one on data of its own."""
    start: Literal["separate", "prefix"] = "separate"
    """How StereoSet scores the first token; see docs/benchmarks.md."""
    select_per_category: int = Field(default=250, ge=1)
    """Pairs of each category that an evaluation during training scores."""
    tokens_per_batch: int | None = Field(default=None, ge=1)
    """Most padded tokens in one forward pass; what suits the device if null."""
    judge: JudgeConfig | None = None
    """Who judges generated text; see docs/judge.md."""
    rating: RatingConfig = RatingConfig()
    """Which classifiers rate generated text; see docs/classifiers.md."""


class RunConfig(_Strict):
    """Everything that can change a number of a run."""

    recipe: str
    description: str = ""
    source: str = ""
    model: ModelConfig
    data: DataConfig
    stages: list[Stage] = Field(min_length=1)
    evaluation: EvaluationConfig = EvaluationConfig()
    seed: int = 0

    @model_validator(mode="after")
    def _stages_fit(self) -> Self:
        kinds: dict[str, str] = {}
        for stage in self.stages:
            for setting, name, kind in stage.needs():
                place = f"stages.{stage.name}.{setting}"
                if name not in kinds:
                    hint = nearest(name, kinds)
                    raise ValueError(f"{place}: no earlier stage is called {name!r}{hint}")
                if kinds[name] != kind:
                    raise ValueError(f"{place}: {name!r} is no {kind} stage but {kinds[name]}")
            if not stage.name.isidentifier() or stage.name in kinds:
                raise ValueError(
                    f"stages: {stage.name!r} is taken or no word; give each stage a name of its own"
                )
            kinds[stage.name] = stage.kind
        alone = [s for s in self.stages if s.kind in {"project", "decode"}]
        if alone and len(self.stages) > 1:
            raise ValueError(
                f"stages.{alone[0].name}: a {alone[0].kind} stage works on the base model and "
                "leaves no weight to go on with, so it must be the only one; unskew merge what is "
                "trained, then give the merged model to it"
            )
        if self.stages[-1].kind == "saliency":
            raise ValueError(
                f"stages.{self.stages[-1].name}: a saliency stage changes no weight, so it cannot "
                "be the last; add a train or an edit stage that uses its mask"
            )
        return self

    def sha256(self) -> str:
        """Hash of all settings."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_yaml(self) -> str:
        """The resolved configuration."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
