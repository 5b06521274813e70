"""The understanding tasks by generation: the model replies in words, the first label is its answer.

Source, and what departs from it: see `_understanding.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import ClassVar

from unskew.benchmarks._aggregation import number
from unskew.benchmarks._quantities import Quantity
from unskew.benchmarks._understanding import (
    PROMPTS,
    QUANTITIES,
    UNPARSED,
    UNPARSED_SHARES,
    UnderstandingBenchmark,
)
from unskew.chat import ChatRequest, Conversation
from unskew.types import Answer, Examples, Request, SampleScore

__all__ = [
    "AmazonPolarityGenerated",
    "CoLAGenerated",
    "FLUTEGenerated",
    "MRPCGenerated",
    "RTEGenerated",
    "SST2Generated",
]

MAX_NEW_TOKENS = 8
_FEW_SHOT = " few shot"


def chosen_label(text: str, words: Sequence[Sequence[str]]) -> int | None:
    """The label of the first word in a reply that names one, in any case; None without one.

    A word counts as a whole, `not` is no `no`. What stands before it does not: `not positive`
    answers positive.

    Args:
        text: What the model wrote.
        words: That name each label.
    """
    label_of = {word.casefold(): label for label, same in enumerate(words) for word in same}
    found = re.search(rf"(?<!\w)(?:{'|'.join(map(re.escape, label_of))})(?!\w)", text.casefold())
    return label_of[found[0]] if found else None


class _Generated(UnderstandingBenchmark):
    """The metrics of `UnderstandingBenchmark`, of greedy replies of at most 8 tokens.

    The first label word of a reply is the answer; a reply without one is wrong and counts in
    `unparsed`. The model's chat template is used where it has one, with the prompt, and the solved
    examples in front of it, as the user's only turn; without one the prompt stands as it is.
    Variants: `sample200`, the items that the task's other benchmark draws and the only ones that
    are asked; of 200 items or less `all`.

    Args:
        examples: With labelled texts of this task.
        split: Name of the split.
        **options: `categories`, `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: As `UnderstandingBenchmark`.
    """

    quantities: ClassVar[tuple[Quantity, ...]] = (*UNPARSED_SHARES, *QUANTITIES)

    @classmethod
    def serves(cls, examples: Examples) -> bool:
        """Never by itself: it takes long, and only models that answer questions have a value."""
        return False

    def requests(self) -> Iterable[Request]:
        asked = [i for i in self.items.values() if not self.sample or i.id in self.sample]
        for with_shots, suffix in enumerate(("", _FEW_SHOT)):
            for item in asked:
                turn = self.prompt.asked(item.fields, with_shots=bool(with_shots))
                yield ChatRequest(f"{item.id}{suffix}", (turn,), MAX_NEW_TOKENS)

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, Conversation)
        item = self.items[request.id.removesuffix(_FEW_SHOT)]
        (text,) = answer.replies
        chosen = chosen_label(text, self.prompt.words)
        prompt = PROMPTS[request.id != item.id]
        said = UNPARSED if chosen is None else float(chosen)
        return self.scored(request.id, item, {"text": text, prompt: said})

    @classmethod
    def variants(cls, score: SampleScore) -> tuple[str, ...]:
        return ("sample200",) if number(score, "sampled") else ("all",)

    @classmethod
    def group(cls, score: SampleScore) -> str:
        """Both replies about an item are drawn as one."""
        return score.target


class SST2Generated(_Generated):
    """`sst2` in the model's own words. See `_Generated`."""

    name, task = "sst2_generated", "sst2"


class MRPCGenerated(_Generated):
    """`mrpc` in the model's own words. See `_Generated`."""

    name, task = "mrpc_generated", "mrpc"


class CoLAGenerated(_Generated):
    """`cola` in the model's own words. See `_Generated`."""

    name, task = "cola_generated", "cola"


class RTEGenerated(_Generated):
    """`rte` in the model's own words. See `_Generated`."""

    name, task = "rte_generated", "rte"


class FLUTEGenerated(_Generated):
    """`flute` in the model's own words. See `_Generated`."""

    name, task = "flute_generated", "flute"


class AmazonPolarityGenerated(_Generated):
    """`amazon_polarity` in the model's own words. See `_Generated`."""

    name, task = "amazon_polarity_generated", "amazon_polarity"
