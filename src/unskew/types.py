"""Frozen records that cross from room to room. No behaviour beyond derived values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from unskew.chat import ChatRequest, Conversation, Dialogue
from unskew.embeddings import Association, Embedding, EmbeddingRequest
from unskew.errors import ConfigError
from unskew.items import ChoiceQuestion, Coreference, Descriptor, Labelled
from unskew.rating import Prompt, Quality

Task = Literal["intrasentence", "intersentence", "pair"]
Start = Literal["separate", "prefix"]
Better = Literal["higher", "lower", "closer"]
RowSource = Literal["stereotype", "anti_stereotype", "unrelated", "documents", "questions"]
"""Where rows to learn from or to hold weights responsible for can come from."""

OVERALL = "overall"


@dataclass(frozen=True, slots=True)
class Pair:
    """A stereotype and its anti-stereotype, sharing the text before `completion_start`.

    The three texts are complete; `text[:completion_start]` is the same in all of them.
    """

    id: str
    category: str
    """Bias type, e.g. `gender`."""
    target: str
    """Term the pair is about, e.g. `nurse`. Splits and macro averages go by it."""
    stereotype: str
    anti_stereotype: str
    unrelated: str | None
    completion_start: int
    """Character offset where the variants part."""
    task: Task = "intrasentence"
    sentence_ids: tuple[str, ...] = ()
    """Ids of the stereotype, anti-stereotype and (where present) unrelated sentence."""
    tags: tuple[str, ...] = ()
    """Free labels a benchmark reports apart, e.g. CrowS-Pairs' `stereo` and `antistereo`."""

    @property
    def context(self) -> str:
        """Text shared by the variants."""
        return self.stereotype[: self.completion_start]

    @property
    def texts(self) -> tuple[str, ...]:
        """Stereotype, anti-stereotype and, where present, the unrelated text."""
        both = (self.stereotype, self.anti_stereotype)
        return both if self.unrelated is None else (*both, self.unrelated)


@dataclass(frozen=True, slots=True)
class Document:
    """A plain text whose every token counts."""

    id: str
    text: str
    kind: str = "neutral"


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt with one right continuation. `kind` groups items in the report."""

    id: str
    prompt: str
    answer: str
    kind: str
    mentions_group: bool = False
    """True where the item names a group that also stands in the stereotypes."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A context before a slot, and the words that may fill it, for comparing two models.

    The first candidate is the stereotype, the second the anti-stereotype.
    """

    id: str
    category: str
    target: str
    context: str
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Examples:
    """All that one split offers. What a data set does not have is empty."""

    pairs: tuple[Pair, ...] = ()
    documents: tuple[Document, ...] = ()
    questions: tuple[Question, ...] = ()
    probes: tuple[Probe, ...] = ()
    choices: tuple[ChoiceQuestion, ...] = ()
    coreferences: tuple[Coreference, ...] = ()
    labelled: tuple[Labelled, ...] = ()
    dialogues: tuple[Dialogue, ...] = ()
    associations: tuple[Association, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    descriptors: tuple[Descriptor, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """A row the loader left out, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set in its three disjoint splits, with what was dropped and where it came from."""

    name: str
    splits: Mapping[str, Examples]
    """Keys `train`, `select`, `report`; a data set used for evaluation only has just `report`."""
    drops: tuple[Drop, ...] = ()
    sha256: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """A text of which only the part from `completion_start` (a character offset) is scored."""

    text: str
    completion_start: int = 0


@dataclass(frozen=True, slots=True)
class LikelihoodRequest:
    """Score each segment. Segments that share a prefix may share its computation."""

    id: str
    segments: tuple[Segment, ...]
    start: Start | Literal["rolling"] = "separate"
    """`separate`: the first token alone after the start token, the rest without it.
    `prefix`: the start token in front of the whole text. `rolling`: as `prefix`, and a text that
    is longer than the window goes through several; each token is scored once."""
    window: int | None = None
    """Most tokens that one forward pass reads where `rolling`; the model's context if None."""


@dataclass(frozen=True, slots=True)
class DivergenceRequest:
    """Compare the policy with a reference model on the tokens from `completion_start` on."""

    id: str
    segment: Segment
    candidates: tuple[str, ...] = ()
    """Words whose log-probability at the end of the text is wanted from both models."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Continue a prompt, by seeded sampling or always by the most probable token."""

    id: str
    prompt: str
    max_new_tokens: int = 40
    do_sample: bool = True
    temperature: float = 1.0
    """Of the sampling, above 0."""
    top_k: int = 50
    """Most probable tokens that are sampled from."""
    until: tuple[str, ...] = ()
    """Texts that end the continuation and are not part of it."""
    with_start: bool = True
    """Whether the start token stands in front of the prompt."""


Request = LikelihoodRequest | DivergenceRequest | GenerationRequest | ChatRequest | EmbeddingRequest


@dataclass(frozen=True, slots=True)
class SequenceScore:
    """Score of one segment."""

    logprob: float
    """Summed over the scored tokens, in nats."""
    num_tokens: int
    is_greedy: bool
    """True where every scored token was the most probable one of the whole vocabulary."""

    @property
    def mean_logprob(self) -> float:
        """Per scored token, in nats."""
        return self.logprob / self.num_tokens


@dataclass(frozen=True, slots=True)
class Divergence:
    """Policy against reference on one segment."""

    kl_reference_policy: float
    """Summed over the compared positions, in nats."""
    num_tokens: int
    slot_kl_reference_policy: float
    """At the position that predicts what follows the text, in nats."""
    policy_logprobs: tuple[float, ...]
    """Of the candidates, in the order of the request."""
    reference_logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Generation:
    """A sampled continuation, without the prompt."""

    text: str
    token_ids: tuple[int, ...]
    mean_entropy: float
    """Of the next-token distributions on the way, in nats."""
    ratings: Mapping[Quality, float] = field(default_factory=dict)
    """What classifiers say of the text, where there are any."""


Answer = tuple[SequenceScore, ...] | Divergence | Generation | Conversation | Embedding


@dataclass(frozen=True, slots=True)
class SampleScore:
    """What a benchmark makes of one answer; `values` are named by the benchmark."""

    id: str
    category: str
    target: str
    values: Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number with its uncertainty and its meaning. Unmeasured metrics do not exist."""

    benchmark: str
    variant: str
    split: str
    category: str
    metric: str
    value: float
    n: int
    ci_low: float | None
    ci_high: float | None
    ideal: float | None
    better: Better
    unit: str

    @property
    def is_overall(self) -> bool:
        """Whether it is over all categories."""
        return self.category == OVERALL

    @property
    def off_ideal(self) -> float:
        """Signed distance from the ideal value, which it has."""
        assert self.ideal is not None
        return self.value - self.ideal


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a controller sees of one evaluation on the select split."""

    step: int
    metrics: tuple[Metric, ...]

    def variants(self, benchmark: str, metric: str, category: str = OVERALL) -> dict[str, Metric]:
        """The metric of each variant of the benchmark; empty where it was not measured."""
        wanted = (benchmark, metric, category)
        return {m.variant: m for m in self.metrics if (m.benchmark, m.metric, m.category) == wanted}

    def pooled(self, benchmark: str, metric: str) -> float:
        """A metric over all categories and variants, weighted by n; NaN where not measured."""
        found = self.variants(benchmark, metric).values()
        count = sum(m.n for m in found)
        return sum(m.n * m.value for m in found) / count if count else float("nan")

    def by_category(self, benchmark: str, metric: str) -> list[Metric]:
        """The metric of every single category, in every variant; each has an ideal value."""
        wanted = (benchmark, metric)
        return [m for m in self.metrics if (m.benchmark, m.metric) == wanted and not m.is_overall]

    def off_ideal(self, benchmark: str, metric: str) -> dict[str, float]:
        """Signed distance of a metric from its ideal value, for every single category.

        Where a benchmark has several variants, their mean weighted by n.
        """
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for m in self.by_category(benchmark, metric):
            sums[m.category] = sums.get(m.category, 0.0) + m.off_ideal * m.n
            counts[m.category] = counts.get(m.category, 0) + m.n
        return {category: total / counts[category] for category, total in sums.items()}


@dataclass(frozen=True, slots=True)
class Phase:
    """What to train next: a direction for each category.

    +1 forgets the stereotype and retains the anti-stereotype, -1 the other way round; 0 rests.
    """

    directions: Mapping[str, int]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the stage."""

    reason: str


@dataclass(frozen=True, slots=True)
class StepInfo:
    """What a rule reports of one step."""

    parts: Mapping[str, float]
    """Unweighted value of each part over the chunk."""
    loss: float
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a train stage runs. All batch sizes are of the whole chunk, over all processes."""

    __pydantic_config__ = {"extra": "forbid"}

    max_steps: int = 1000
    """Optimizer steps at the most."""
    learning_rate: float = 5e-5
    lr_scheduler_type: str = "linear"
    """Name of a transformers schedule."""
    schedule_steps: int | None = None
    """Steps over which the schedule runs; max_steps if not given. More than max_steps keeps the
    learning rate from reaching 0."""
    warmup_steps: int = 10
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm; 0 does not clip."""
    eval_steps: int = 50
    """Steps between evaluations on the select split; each also writes a checkpoint."""
    logging_steps: int = 10
    save_total_limit: int = 2
    """Checkpoints kept; the best weights are kept apart."""
    bf16: bool = False
    """Forward and backward passes, also those on the select split, in bfloat16 autocast; losses and
    log-probabilities stay in float32. What is reported is measured without it."""
    micro_batch_tokens: int = 8192
    """Most padded tokens in one forward pass. Changes memory, not results."""
    micro_batch_examples: int | None = None
    """Most rows in one forward pass. Changes memory, not results."""
    full_determinism: bool = True
    """Steps on a GPU use only kernels that add in a fixed order: same seed, same numbers."""
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("max_steps", "learning_rate", "eval_steps", "logging_steps", "save_total_limit")
        for name in (*positive, "micro_batch_tokens"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"training.{name} is {getattr(self, name)}; it must be positive")
        for name in ("warmup_steps", "weight_decay", "max_grad_norm"):
            if not getattr(self, name) >= 0:
                raise ConfigError(
                    f"training.{name} is {getattr(self, name)}; it must not be negative"
                )


@dataclass(frozen=True, slots=True)
class Decision:
    """What a controller, or the choice of the checkpoint, decided and why."""

    step: int
    kind: Literal["phase", "stop", "checkpoint"]
    reason: str
    directions: Mapping[str, int] | None = None
