"""Benchmarks on dialogues, each for some tasks of a data set."""

from __future__ import annotations

from typing import Any, ClassVar

from unskew.benchmarks._aggregation import AggregatedBenchmark
from unskew.chat import Dialogue
from unskew.errors import BenchmarkError
from unskew.types import Examples


class DialogueBenchmark(AggregatedBenchmark[Dialogue]):
    """Base of the benchmarks that hold conversations.

    Args:
        examples: With dialogues of the benchmark's `tasks`.
        split: Name of the split.
        **options: `categories`, `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: Nothing to ask, dialogues of another task, a category without a dialogue, a
            duplicate id.
    """

    needs = "dialogues"
    tasks: ClassVar[tuple[str, ...]]
    """What `Dialogue.task` may be."""

    def __init__(self, examples: Examples, *, split: str, **options: Any) -> None:
        super().__init__(examples, split=split, **options)
        if other := sorted({item.task for item in self.items.values()} - set(self.tasks)):
            raise BenchmarkError(
                f"{self.name} has dialogues of {', '.join(self.tasks)}, and these are of "
                f"{', '.join(other)}; name data of its own"
            )

    @classmethod
    def serves(cls, examples: Examples) -> bool:
        return any(item.task in cls.tasks for item in examples.dialogues)
