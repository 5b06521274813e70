"""The contracts between the rooms. Read this file and you know the building.

Objective, UpdateRule, Controller, Decoder and Benchmark are the kinds of part that users add; each
is a class in its room's folder and one line in that folder's table. GradientSource and Reference
are the seam between the training loop and the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from unskew.chat import Conversation, JudgePrompt, JudgeReply
from unskew.types import (
    Answer,
    Evaluation,
    Examples,
    Metric,
    Phase,
    Request,
    SampleScore,
    StepInfo,
    Stop,
)

Quantity = Literal[
    "logprob",
    "log_odds",
    "log_odds_per_token",
    "logprob_per_token",
    "slot_logprob",
    "kl_reference_policy",
]
"""What a part asks of its stream. `logprob` is of one row. Four are of a pair, whose two rows make
one example: `log_odds`, the kept variant's log-probability less the forgotten one's;
`log_odds_per_token`, the same of their means over tokens; `logprob_per_token`, the average of these
means; `slot_logprob`, of either of the two tokens where the variants part."""
Needs = Literal[
    "pairs",
    "documents",
    "questions",
    "probes",
    "choices",
    "coreferences",
    "labelled",
    "dialogues",
    "associations",
    "prompts",
    "descriptors",
]
Comparison = Literal["none", "each", "last"]
"""Reference models a benchmark holds the model against, of those there are: none, each of them,
or only the last, which is the one nearest to the truth (an oracle, where there is one)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One named term of an objective: which stream it reads and how it is averaged.

    The loop divides the sum of the per-example values by the number of examples or of scored
    tokens of the *whole chunk*, so the result does not depend on how the chunk is cut.
    """

    stream: str
    quantity: Quantity
    needs_reference: bool = False
    """Whether the quantity under the reference is handed over as well."""
    reference_over: Literal["own", "contexts"] = "own"
    """`contexts`: the reference's quantity is its mean over the pair's own and its counterfactual
    contexts, and 0, which is even, where there are none."""
    average_over: Literal["examples", "tokens", "chunk"] = "examples"
    """`chunk`: the value is already one number for all examples; such a part cannot be cut."""


@dataclass(frozen=True, slots=True)
class StreamValues:
    """What the loop hands an objective for one stream; all tensors are float32."""

    num_tokens: Tensor
    """Scored tokens, shape (example,)."""
    logprob: Tensor | None = None
    """Under the policy, nats, shape (example,): summed over scored tokens, or what the part asks of
    a pair."""
    reference_logprob: Tensor | None = None
    """The same under the reference."""
    kl_reference_policy: Tensor | None = None
    """Summed over scored positions, nats, shape (example,)."""


@runtime_checkable
class Objective(Protocol):
    """What to minimise: named parts, each a value for every example. Weights are the rule's."""

    @property
    def parts(self) -> Mapping[str, Part]:
        """Name of each part and what it needs."""
        ...

    def __call__(self, streams: Mapping[str, StreamValues]) -> Mapping[str, Tensor]:
        """Per-example value of each part whose stream is present, shape (example,)."""
        ...


@runtime_checkable
class GradientSource(Protocol):
    """The chunk in hand, as a rule sees it. The trainer implements it."""

    @property
    def params(self) -> Sequence[torch.nn.Parameter]:
        """Trainable parameters, in a fixed order."""
        ...

    def gradients(self, weights: Mapping[str, float]) -> Mapping[str, float]:
        """Fill `.grad` with the gradient of the weighted parts; return the parts' values.

        Accumulated over micro-batches and summed over processes. Earlier `.grad` is replaced.
        """
        ...


@runtime_checkable
class UpdateRule(Protocol):
    """Turns the gradients of the parts into the `.grad` that the optimizer will use."""

    def step(self, source: GradientSource) -> StepInfo:
        """Fill `.grad` for one optimizer step."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


Gradient = Literal["none", "base", "path", "rows", "absolute_rows"]
"""What a criterion needs: nothing; the mean gradient at the base model; its mean along the path to
the shadow; or the mean over rows of the squared gradient, or of its size."""


@dataclass(frozen=True, slots=True)
class WeightEvidence:
    """What was measured of one weight tensor; all float32 and of its shape."""

    weight: Tensor
    """In the base model."""
    gradient: Tensor | None
    """As the criterion asked for it; of the loss in nats."""
    delta: Tensor | None
    """Its move from the base to the shadow."""


@runtime_checkable
class Saliency(Protocol):
    """How strongly each weight is held responsible for a loss. Knows no model and no data.

    One whose gradient is `path` also has `path_points`, the nodes of the quadrature.
    """

    gradient: Gradient
    needs_shadow: bool

    def score(self, seen: WeightEvidence) -> Tensor:
        """A score for each weight, of its shape; higher is more responsible."""
        ...


@runtime_checkable
class Edit(Protocol):
    """Computes one change of weights out of others, tensor by tensor. Knows no model, no file."""

    def combine(self, name: str, changes: Sequence[Tensor]) -> Tensor:
        """The change of one weight tensor, float32, from the same tensor of each delta.

        Args:
            name: Of the weight; what is drawn at random depends on it and not on the order.
            changes: One for each delta, of one shape.
        """
        ...


@dataclass(frozen=True, slots=True)
class LabelledStates:
    """Hidden states in tuples: the texts of one tuple differ in the group they speak of alone."""

    states: Tensor
    """Shape (state, width), float32."""
    groups: Tensor
    """Group of each state, int64 below `num_groups`, shape (state,)."""
    tuples: Tensor
    """Tuple of each state, int64, shape (state,); no tuple is cut over two batches."""
    num_groups: int


@dataclass(frozen=True, slots=True)
class Erasure:
    """The map of hidden states `h - left right (h - mean)`; all tensors are float32."""

    mean: Tensor
    """Shape (width,); zero for a map that is linear."""
    left: Tensor
    """Shape (width, rank)."""
    right: Tensor
    """Shape (rank, width)."""


@runtime_checkable
class Projector(Protocol):
    """Finds a map of hidden states that hides a group. Knows no model, no text, no file."""

    def update(self, seen: LabelledStates) -> None:
        """Take in a batch of states."""
        ...

    def fit(self) -> Erasure:
        """The map, from all batches; a `ConfigError` says why there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Contexts:
    """What else a decoder has the model read, to change the prediction at some places of a row."""

    rows: tuple[tuple[int, ...], ...]
    """Token ids of further rows."""
    readings: tuple[tuple[tuple[int, int], ...], ...]
    """For each place its contexts, as (row, position): the state there predicts what comes next in
    that context. None where the place's prediction stays as it is."""


@runtime_checkable
class ContextReader(Protocol):
    """Forms the contexts of rows for one tokenizer."""

    @property
    def reserved_tokens(self) -> int:
        """Room in the model's context that further rows need beyond the row's own length."""
        ...

    def __call__(self, ids: Sequence[int], places: Sequence[int]) -> Contexts:
        """The contexts of predictions in one row.

        What comes out for a place depends on the tokens before it alone, so that scoring a text
        and generating it see the same distributions.

        Args:
            ids: The row, with or without its start token.
            places: Numbers of tokens given; `n` asks for what predicts the token after `ids[:n]`.
        """
        ...


@runtime_checkable
class Decoder(Protocol):
    """Changes the distribution of the next token, not the weights. Knows no model, no file."""

    def reader(self, encoder: Any) -> ContextReader:
        """What forms the contexts for a tokenizer.

        Args:
            encoder: An `unskew.models.tokens.Encoder`.
        """
        ...

    def combine(self, own: Tensor, others: Tensor, present: Tensor) -> Tensor:
        """Normalised log-probabilities of the next token, float32, shape (position, vocab).

        Args:
            own: Log-probabilities after the text itself, float32, shape (position, vocab).
            others: The same in each context, shape (position, context, vocab).
            present: Which contexts there are, shape (position, context); each position has one.
        """
        ...

    def scaled(self, strength: float) -> Decoder:
        """The same decoder, so many times as strong; 0 leaves every distribution as it is."""
        ...


@runtime_checkable
class Controller(Protocol):
    """Decides from measured history what happens next. Knows no model and no file."""

    def next(self, history: Sequence[Evaluation]) -> Phase | Stop | None:
        """Called after each evaluation; None leaves things as they are."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@runtime_checkable
class JudgesPredictions(Protocol):
    """What a benchmark has besides that can judge stored answers of any model."""

    @classmethod
    def with_predictions(
        cls, examples: Examples, stored: Any, **options: Any
    ) -> tuple[Benchmark, Mapping[str, Answer]]:
        """The benchmark over what was answered, and the answers by request id.

        Args:
            examples: The data that the answers are for.
            stored: The content of the file: its JSON value, or a list of its JSON lines.
            options: Further arguments of the benchmark.

        Raises:
            BenchmarkError: An answer is missing, wrong, or for no item.
        """
        ...


@runtime_checkable
class Benchmark(Protocol):
    """Forms questions, judges answers, aggregates. Asking is the runner's business.

    Constructed as `Cls(examples, split=..., num_resamples=..., **options)`; one whose `comparison`
    is not `none` also takes `reference_name`.
    """

    name: str
    version: str
    needs: Needs
    comparison: Comparison

    @classmethod
    def serves(cls, examples: Examples) -> bool:
        """Whether these examples are meant for this benchmark."""
        ...

    def requests(self) -> Iterable[Request]:
        """All requests; ids are unique within the benchmark."""
        ...

    def score(self, request: Request, answer: Answer) -> SampleScore:
        """Judge one answer."""
        ...

    def metrics(self, scores: Sequence[SampleScore]) -> list[Metric]:
        """Aggregate, with n and a 95 % interval. Empty for no scores."""
        ...


@runtime_checkable
class Judge(Protocol):
    """Answers questions about what a model wrote."""

    @property
    def identity(self) -> str:
        """What its replies depend on besides the question: model, endpoint, temperature."""
        ...

    @property
    def prices(self) -> tuple[float, float] | None:
        """USD for a million tokens of input and of output; None where they are not known."""
        ...

    def ask(
        self,
        prompts: Sequence[JudgePrompt],
        max_tokens: int,
        replied: Callable[[int, JudgeReply | None], None],
    ) -> None:
        """Ask all; each reply is handed over as it comes, from any thread but one at a time.

        Args:
            prompts: The questions.
            max_tokens: Limit of a reply.
            replied: Told the place of the question and its reply, None where it is lost. What it
                raises ends the asking.

        Raises:
            JudgeFailed: The judge cannot be asked at all, e.g. a wrong key or model.
        """
        ...


@runtime_checkable
class AsksJudge(Protocol):
    """What a benchmark has besides whose answers a judge reads before they are scored."""

    def judge_prompts(self, request: Request, answer: Conversation) -> tuple[JudgePrompt, ...]:
        """Questions about one answer; none where the answer needs no judge, e.g. a refusal."""
        ...

    def verdict(self, text: str) -> float | None:
        """What a judge's text says, or None where it cannot be read."""
        ...
