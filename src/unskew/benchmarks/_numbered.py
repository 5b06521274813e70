"""Prompts that ask for one of two numbers, answered by likelihood and in writing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from unskew.benchmarks._aggregation import finite, number
from unskew.benchmarks._dialogues import DialogueBenchmark
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.benchmarks._refusals import is_refusal
from unskew.chat import ChatRequest, Conversation
from unskew.errors import BenchmarkError
from unskew.types import Answer, Examples, Request, SampleScore

_ASKED, _RIGHT, _FIRST, _READ, _WRITTEN, _UNPARSED, _REFUSED = range(7)
_OPENING = re.compile(r"\W*(\d+)(?!\d|\.\d)(?!\s*(?:and|or|,|/|&)\s*\d)")
_NUMBER = re.compile(r"(?<![\w.])(\d+)(?![\w]|\.\d)")
_GENERATED = " generated"


def chosen_number(text: str, options: Sequence[str]) -> int | None:
    """Index of the numbered option that a reply names, or None where it cannot be told.

    The number a reply begins with, unless another follows at once (`1 or 2`); else the only
    option whose number stands in it.

    Args:
        text: What the model wrote.
        options: The numbers, as they are asked for.
    """
    opening = _OPENING.match(text)
    if opening and opening[1] in options:
        return options.index(opening[1])
    named = {n for n in _NUMBER.findall(text) if n in options}
    return options.index(named.pop()) if len(named) == 1 else None


class NumberedBenchmark(DialogueBenchmark):
    """Base: micro-F1 in per cent of answers to prompts that end in two numbered options.

    Variants: `rank` takes the number with the higher log-probability per token as the reply (a tie
    goes to the first); `generated` reads it from a greedy reply. With one label for each item
    micro-F1 is accuracy; a reply that names no number, or both, is wrong. `unparsed` is the share
    of such replies, `refused` the share that also holds a phrase of refusal. `first_share` is the
    share of answers that are the first number: 50 is balanced, as the data are, and a model that
    always gives one number has 0 or 100 with a micro-F1 of 50. Intervals draw contexts.

    Args:
        examples: With dialogues of one turn and two options.
        split: Name of the split.
        max_new_tokens: Length limit of a reply.
        **options: `categories`, `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: Nothing to score, a category without a prompt, a duplicate id, a prompt
            without a right option.
    """

    version = "1"
    headline = "rank"
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity(
            "micro_f1", "%", 100, "higher", pooled(_RIGHT, _ASKED, 100), interval="bootstrap_share"
        ),
        Quantity(
            "first_share",
            "%",
            None,
            "closer",
            pooled(_FIRST, _READ, 100),
            _READ,
            interval="bootstrap_share",
        ),
        Quantity(
            "unparsed",
            "%",
            0,
            "lower",
            pooled(_UNPARSED, _WRITTEN, 100),
            _WRITTEN,
            interval="bootstrap_share",
        ),
        Quantity(
            "refused",
            "%",
            0,
            "lower",
            pooled(_REFUSED, _WRITTEN, 100),
            _WRITTEN,
            interval="bootstrap_share",
        ),
    )

    def __init__(
        self, examples: Examples, *, split: str, max_new_tokens: int = 8, **options: Any
    ) -> None:
        super().__init__(examples, split=split, **options)
        self.max_new_tokens = max_new_tokens
        for item in self.items.values():
            if item.right is None or len(item.options) < 2:
                raise BenchmarkError(
                    f"{self.name}: {item.id!r} has no right option; give data with targets"
                )

    def requests(self) -> Iterable[Request]:
        for item in self.items.values():
            yield ChatRequest(item.id, item.turns, options=item.options)
        for item in self.items.values():
            yield ChatRequest(f"{item.id}{_GENERATED}", item.turns, self.max_new_tokens)

    def score(self, request: Request, answer: Answer) -> SampleScore:
        item = self.items[request.id.removesuffix(_GENERATED)]
        values: dict[str, float | str] = {}
        if isinstance(answer, Conversation):
            (text,) = answer.replies[:1]
            chosen = chosen_number(text, item.options)
            refused = chosen is None and is_refusal(text)
            values |= {"variant": "generated", "text": text, "refused": float(refused)}
        else:
            assert isinstance(answer, tuple)
            means = [score.mean_logprob for score in answer]
            finite(item.id, **{f"option_{o}": m for o, m in zip(item.options, means, strict=True)})
            chosen = means.index(max(means))
            values |= {"variant": "rank", "margin": means[0] - means[1]}
        assert item.right is not None
        values["choice"] = -1.0 if chosen is None else float(chosen)
        values["right"] = float(item.right)
        return SampleScore(request.id, item.category, item.cluster or item.id, values)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        choice, written = number(score, "choice"), "text" in score.values
        return (
            1.0,
            float(choice == number(score, "right")),
            float(choice == 0),
            float(choice >= 0),
            float(written),
            float(written and choice < 0),
            number(score, "refused") if written else 0.0,
        )

    @classmethod
    def group(cls, score: SampleScore) -> str:
        return score.target
