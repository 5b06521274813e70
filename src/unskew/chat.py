"""Records of conversations: what is asked turn by turn, and what a model said.

A room below `types`, whose unions of requests and answers take them in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a user says, turn by turn; the model's replies stand in between."""

    id: str
    category: str
    """Bias type or subject, e.g. `gender`."""
    turns: tuple[str, ...]
    """The user's, complete and ready to be sent."""
    task: str = ""
    """Kind of dialogue where a data set has several, e.g. `Jailbreak_Tips`."""
    cluster: str = ""
    """Dialogues of one cluster are alike and drawn as one; the dialogue itself if empty."""
    options: tuple[str, ...] = ()
    """Replies to choose from."""
    right: int | None = None
    """Index of the right option."""
    references: tuple[str, ...] = ()
    """A good reply to each turn, where the data set has them."""
    judge_templates: tuple[JudgePrompt, ...] = ()
    """How a judge is asked about the reply to each turn, where the data set says so; names of
    what is filled in stand in braces."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Reply to each turn in order, each with all before it; or choose among options.

    The model's chat template is used where it has one.
    """

    id: str
    turns: tuple[str, ...]
    max_new_tokens: int = 512
    """Of each reply."""
    temperature: float = 0.0
    """0 always takes the most probable token."""
    options: tuple[str, ...] = ()
    """If given, nothing is generated: each is scored as the reply to the only turn."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The model's replies, and what a judge wrote about them where one was asked."""

    replies: tuple[str, ...]
    judgements: tuple[str | None, ...] = ()
    """Raw texts, in the order of the benchmark's questions to the judge; None where it failed."""
    second_judgements: tuple[str | None, ...] = ()
    """Those of another judge, where two were asked."""


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """A question to a judge."""

    version: str
    """Name and number of the wording; another wording has another."""
    messages: tuple[tuple[str, str], ...]
    """Role (`system`, `user`, `assistant`) and text."""
    max_tokens: int = 256
    """Of the reply, where the settings of the judge name no limit."""


@dataclass(frozen=True, slots=True)
class JudgeReply:
    """What a judge wrote."""

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
