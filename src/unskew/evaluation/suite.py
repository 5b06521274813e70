"""Which benchmarks a split can serve, and their run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unskew.benchmarks import BENCHMARKS
from unskew.errors import BenchmarkError
from unskew.evaluation.runner import Runner
from unskew.protocols import Benchmark
from unskew.types import Answer, Examples, Metric, Request, SampleScore

AUTO, GUARD = "auto", "guard"
GENERATION = "generation"
GUARDS = ("stereoset", "perplexity", "divergence", "reasoning", "slot", GENERATION)
"""What `guard` stands for: what unlearning must not damage."""
JudgeAnswers = Callable[
    ["Entry", Mapping[str, Request], Mapping[str, Answer]], Mapping[str, Answer]
]


@dataclass(frozen=True, slots=True)
class Entry:
    """A benchmark and the name of the reference its requests are answered against."""

    benchmark: Benchmark
    reference: str | None = None
    source: str | None = None
    """Name of its data, where that is not the data of the run."""

    @property
    def label(self) -> str:
        """Name of the benchmark, with its reference and its source where it has them."""
        return "-".join(filter(None, (self.benchmark.name, self.reference, self.source)))


@dataclass(frozen=True, slots=True)
class Measured:
    """What one benchmark found."""

    entry: Entry
    scores: tuple[SampleScore, ...]
    metrics: tuple[Metric, ...]


def benchmark_names(examples: Examples, asked: Sequence[str] = (AUTO,)) -> list[str]:
    """The benchmarks asked for; `auto` and `guard` stand for those that the examples can serve.

    Raises:
        UnknownName: No such benchmark; the nearest is named.
        BenchmarkError: A benchmark named outright finds nothing to ask about.
    """
    served = [n for n in BENCHMARKS if BENCHMARKS.load(n).serves(examples)]
    names: list[str] = []
    for name in asked:
        if name in (AUTO, GUARD):
            among = served if name == AUTO else GUARDS
            names.extend(n for n in served if n in among and n not in names)
            continue
        needs = BENCHMARKS.load(name).needs
        if not getattr(examples, needs):
            raise BenchmarkError(
                f"benchmark {name!r} needs {needs}, of which the data has none; "
                f"it can serve {', '.join(served) or 'no benchmark'}"
            )
        if name not in names:
            names.append(name)
    return names


def entries(
    examples: Examples,
    split: str,
    *,
    names: Sequence[str],
    references: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    num_resamples: int = 1000,
    source: str | None = None,
) -> list[Entry]:
    """Benchmarks over one split; those that compare, once for each reference.

    Args:
        examples: The split's examples.
        split: Its name.
        names: Benchmarks, as `benchmark_names` gives them.
        references: Names of the models to compare with, the one nearest to the truth last;
            without any, comparing benchmarks are left out.
        options: Name of a benchmark -> further arguments of it.
        num_resamples: Of the bootstrap; 0 leaves intervals out.
        source: Name of the data, where that is not the data of the run.
    """
    made: list[Entry] = []
    for name in names:
        cls = BENCHMARKS.load(name)
        shared = {"split": split, "num_resamples": num_resamples, **(options or {}).get(name, {})}
        if cls.comparison == "none":
            made.append(Entry(cls(examples, **shared), None, source))
            continue
        compared = references[-1:] if cls.comparison == "last" else references
        made.extend(Entry(cls(examples, reference_name=r, **shared), r, source) for r in compared)
    return made


class Sitting:
    """A benchmark put to a model, as often as is wanted: what it asks is prepared once.

    Args:
        entry: The benchmark.
        runner: Answers with the model, and holds the entry's reference.
        judge: Adds to the answers what a judge says of them, where the benchmark wants one.
    """

    def __init__(self, entry: Entry, runner: Runner, judge: JudgeAnswers | None = None) -> None:
        self._entry = entry
        self._runner = runner
        self._judge = judge
        self._requests = {r.id: r for r in entry.benchmark.requests()}
        self._prepared = runner.prepare(self._requests.values())

    def measure(self) -> Measured:
        """Ask, judge and aggregate."""
        benchmark = self._entry.benchmark
        answers = self._runner.answer(self._prepared, self._entry.label)
        if self._judge is not None:
            answers = self._judge(self._entry, self._requests, answers)
        scores = tuple(benchmark.score(r, answers[i]) for i, r in self._requests.items())
        return Measured(self._entry, scores, tuple(benchmark.metrics(scores)))
