"""BBQ as data to learn from: biased answers to forget, right answers to keep.

Where the context leaves the answer open, the answer that follows the stereotype and the one that
names the other person are a pair: to be even between them is to have no bias. The right answers,
`unknown` there and the one that the evidence supports elsewhere, are questions to learn from:
with the first alone a model would learn to refuse always.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from unskew.data.bbq import load_bbq, prompt_of
from unskew.data.completion import follow
from unskew.data.splits import DEFAULT_SPLITS, SplitSettings, check_disjoint, split_pairs
from unskew.errors import DataError
from unskew.items import ChoiceQuestion
from unskew.types import (
    Dataset,
    Examples,
    Pair,
    Question,
)


def load_bbq_to_learn(
    name_or_path: str, splits: SplitSettings = DEFAULT_SPLITS, revision: str | None = None
) -> Dataset:
    """Read BBQ and split it by question template.

    Train holds pairs and questions, select and report pairs and three-option questions. Templates
    of which no item makes a pair are reported on.

    Args:
        name_or_path: As in `load_bbq`.
        splits: Shares and seed.
        revision: Branch, tag or commit of a hub id.

    Raises:
        DataError: No ambiguous item has exactly one option that follows the stereotype, a category
            has too few templates for three splits, or as in `load_bbq`.
        MissingDataset: No such file, folder or cached hub id.
    """
    whole = load_bbq(name_or_path, revision)
    items = whole.splits["report"].choices
    pairs = [pair for item in items if (pair := _pair(item)) is not None]
    if not pairs:
        raise DataError(
            f"{name_or_path}: no ambiguous question has exactly one option that follows the "
            "stereotype, so there is nothing to unlearn; give BBQ's files with both conditions"
        )
    made = split_pairs(pairs, splits)
    check_disjoint(made)
    home = {(p.category, p.target): name for name, members in made.items() for p in members}
    asked: dict[str, list[ChoiceQuestion]] = {name: [] for name in made}
    for item in items:
        asked[home.get((item.category, item.template), "report")].append(item)
    examples = {name: Examples(made[name], choices=tuple(asked[name])) for name in made}
    examples["train"] = Examples(made["train"], questions=tuple(right_answers(asked["train"])))
    return replace(whole, splits=examples)


def _pair(item: ChoiceQuestion) -> Pair | None:
    if item.condition != "ambig" or item.biased is None:
        return None
    other = next(i for i in range(len(item.options)) if i not in (item.biased, item.unknown))
    start, (stereotype, anti) = follow(
        prompt_of(item), (item.options[item.biased], item.options[other])
    )
    return Pair(
        id=item.id,
        category=item.category,
        target=item.template,
        stereotype=stereotype,
        anti_stereotype=anti,
        unrelated=None,
        completion_start=start,
        task="intersentence",  # scored as a continuation, per token of the option
        sentence_ids=(f"{item.id}/biased", f"{item.id}/other"),
    )


def right_answers(items: Iterable[ChoiceQuestion]) -> Iterator[Question]:
    """Each question with its right option, to learn from; its kind is the condition."""
    for item in items:
        answer = item.options[item.right]
        yield Question(item.id, prompt_of(item), answer, item.condition, mentions_group=True)
