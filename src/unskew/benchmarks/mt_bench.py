"""MT-bench: how good are the model's answers over two turns, graded by a judge?

Source: Zheng et al. 2023, arXiv 2306.05685; Apache-2.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from unskew.benchmarks._aggregation import number
from unskew.benchmarks._agreement import agreement_row, kappa
from unskew.benchmarks._judged import JudgedDialogues
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.chat import Conversation, Dialogue, JudgePrompt
from unskew.data.mt_bench import BLANK, TASK
from unskew.errors import BenchmarkError
from unskew.types import Answer, Examples, Request, SampleScore

__all__ = ["MTBench"]

TEMPERATURES: Mapping[str, float] = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
OTHER_TEMPERATURE = 0.7
"""Of a category that is none of MT-bench's."""
JUDGE_TOKENS = 2048
"""The judge explains before it grades."""
LOWEST, HIGHEST = 1, 10
_GRADES = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
_TURNS = (1, 2)
_SUM, _GRADED, _SUM_1, _GRADED_1, _SUM_2, _GRADED_2, _ASKED, _UNPARSED, _AGREEMENT = range(9)


def grade(text: str) -> float | None:
    """The first number in double brackets, else in single ones; None without one from 1 to 10."""
    found = next((match for form in _GRADES if (match := form.search(text))), None)
    value = float(found[1]) if found else 0.0
    return value if LOWEST <= value <= HIGHEST else None


def _mean(name: str, total: int, count: int) -> Quantity:
    return Quantity(name, "of 10", HIGHEST, "higher", pooled(total, count), count)


class MTBench(JudgedDialogues):
    """Mean grade of a judge from 1 to 10, over both turns and of each, by category.

    `score` is the mean of all grades that could be read, `score_turn_1` and `score_turn_2` those of
    one turn; n counts questions, and intervals draw questions. `unparsed` is the share of grades
    that were lost, cannot be read or are not from 1 to 10; they are in no mean. `judge_kappa` is
    the agreement of two judges' grades, with quadratic weights.

    Replies have up to 1024 tokens and the temperature that FastChat sets for the category (0.7 for
    another category). The judge's words are the data set's, with the reference answer where the
    category has one; it is asked about each turn apart.

    Args:
        examples: With dialogues of `load_mt_bench`.
        split: Name of the split.
        **options: See `JudgedDialogues`.

    Raises:
        BenchmarkError: A question has no template for one of its turns, or as `JudgedDialogues`.

    Source: Zheng et al. 2023, arXiv 2306.05685, section 3 (single-answer grading), and FastChat's
    `llm_judge`. Departs: a grade outside 1 to 10 is not read; conversations follow the model's own
    chat template.
    """

    name = "mt_bench"
    version = "1"
    tasks = (TASK,)
    reply_tokens = 1024
    quantities: ClassVar[tuple[Quantity, ...]] = (
        _mean("score", _SUM, _GRADED),
        _mean("score_turn_1", _SUM_1, _GRADED_1),
        _mean("score_turn_2", _SUM_2, _GRADED_2),
        Quantity(
            "unparsed",
            "%",
            0,
            "lower",
            pooled(_UNPARSED, _ASKED, 100),
            _ASKED,
            interval="bootstrap_share",
        ),
        Quantity("judge_kappa", "kappa", 1, "higher", kappa(_AGREEMENT), _AGREEMENT),
    )

    def __init__(self, examples: Examples, *, split: str, **options: Any) -> None:
        super().__init__(examples, split=split, **options)
        for item in self.items.values():
            if len(item.judge_templates) != len(item.turns) or len(item.turns) > len(_TURNS):
                raise BenchmarkError(
                    f"{self.name}: {item.id!r} has {len(item.turns)} turns and "
                    f"{len(item.judge_templates)} templates for a judge; give one or two turns and "
                    "a template for each"
                )

    def temperature(self, item: Dialogue) -> float:
        return TEMPERATURES.get(item.category, OTHER_TEMPERATURE)

    def judge_prompts(self, request: Request, answer: Conversation) -> tuple[JudgePrompt, ...]:
        item = self.items[request.id]
        shown = _shown(item, answer.replies)
        return tuple(_filled(template, shown) for template in item.judge_templates)

    def verdict(self, text: str) -> float | None:
        return grade(text)

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, Conversation)
        item = self.items[request.id]
        values: dict[str, float | str] = {"variant": "single", "turns": float(len(item.turns))}
        values |= {f"reply_{i}": reply for i, reply in enumerate(answer.replies, start=1)}
        values |= _said("judgement", answer.judgements)
        values |= _said("grade", [self._read(text) for text in answer.judgements])
        values |= _said("grade_second", [self._read(text) for text in answer.second_judgements])
        return SampleScore(item.id, item.category, item.cluster or item.id, values)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        grades = [_grade_of(score, "grade", turn) for turn in _TURNS]
        others = [_grade_of(score, "grade_second", turn) for turn in _TURNS]
        by_turn = [(value or 0.0, float(value is not None)) for value in grades]
        total, graded = (sum(column) for column in zip(*by_turn, strict=True))
        asked = number(score, "turns")
        pairs = zip(grades, others, strict=True)
        return total, graded, *by_turn[0], *by_turn[1], asked, asked - graded, *agreement_row(pairs)


def _shown(item: Dialogue, replies: Sequence[str]) -> dict[str, str]:
    """What a template may have in braces."""
    shown = {"question": item.turns[0], "answer": replies[0]}
    for name, texts in (
        ("question", item.turns),
        ("answer", replies),
        ("ref_answer", item.references),
    ):
        shown |= {f"{name}_{turn}": text for turn, text in enumerate(texts, start=1)}
    return shown


def _filled(template: JudgePrompt, shown: Mapping[str, str]) -> JudgePrompt:
    # In one pass: what the model wrote may have braces of its own.
    messages = tuple(
        (role, BLANK.sub(lambda blank: shown.get(blank[1], blank[0]), text))
        for role, text in template.messages
    )
    return replace(template, messages=messages, max_tokens=JUDGE_TOKENS)


def _said(name: str, found: Sequence[Any]) -> dict[str, float | str]:
    return {f"{name}_{turn}": x for turn, x in enumerate(found, start=1) if x is not None}


def _grade_of(score: SampleScore, name: str, turn: int) -> float | None:
    key = f"{name}_{turn}"
    return number(score, key) if key in score.values else None
