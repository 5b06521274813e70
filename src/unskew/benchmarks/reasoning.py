"""Reasoning: is the right continuation the most probable one?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from unskew.benchmarks._aggregation import AggregatedBenchmark, finite, number
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.errors import BenchmarkError
from unskew.types import (
    OVERALL,
    Answer,
    Examples,
    LikelihoodRequest,
    Question,
    Request,
    SampleScore,
    Segment,
)

__all__ = ["Reasoning"]

_QUESTION, _CORRECT = range(2)


class Reasoning(AggregatedBenchmark[Question]):
    """Accuracy in per cent: every token of the answer is the arg-max over the whole vocabulary.

    Categories are the kinds of question, and across them `entangled` (the item names a group
    that also stands in the stereotypes) and `plain`.

    Prompt and answer are joined by a space unless one of them brings white space.

    Args:
        examples: With questions.
        split: Name of the split.
        **options: `categories` (kinds), `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: Nothing to score, a kind without a question, a duplicate id, an empty
            prompt or answer, a kind named `entangled` or `plain`.
    """

    name = "reasoning"
    version = "1"
    needs = "questions"
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity(
            "accuracy", "%", 100, "higher", pooled(_CORRECT, _QUESTION, 100), interval="wilson"
        ),
    )

    def __init__(self, examples: Examples, *, split: str, **options: Any) -> None:
        super().__init__(examples, split=split, **options)
        for question in self.items.values():
            if not question.prompt.strip() or not question.answer.strip():
                raise BenchmarkError(
                    f"reasoning: question {question.id!r} needs both a prompt and an answer"
                )
            if question.kind in ("entangled", "plain"):
                raise BenchmarkError(
                    f"reasoning: {question.kind!r} is a category of its own; rename the kind"
                )

    def requests(self) -> Iterable[Request]:
        for question in self.items.values():
            prompt, answer = question.prompt.rstrip(), question.answer
            gap = question.prompt[len(prompt) :] or ("" if answer[0].isspace() else " ")
            segment = Segment(prompt + gap + answer, len(prompt))
            yield LikelihoodRequest(question.id, (segment,), "prefix")

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, tuple)
        question = self.items[request.id]
        finite(question.id, logprob=answer[0].logprob)
        values = {
            "correct": float(answer[0].is_greedy),
            "logprob": answer[0].logprob,
            "entangled": float(question.mentions_group),
            "variant": "greedy",
        }
        return SampleScore(question.id, question.kind, "", values)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        return 1.0, number(score, "correct")

    @classmethod
    def categories(cls, score: SampleScore) -> tuple[str, ...]:
        return OVERALL, score.category, "entangled" if score.values["entangled"] else "plain"
