"""Measures a model on a split as one phase of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unskew.assemble import build
from unskew.benchmarks import BENCHMARKS
from unskew.classifiers import CLASSIFIERS
from unskew.data.rows import capped
from unskew.errors import ConfigError
from unskew.evaluation.harness import is_task, load_tasks
from unskew.evaluation.own_data import is_own, read_own
from unskew.evaluation.processes import by_first
from unskew.evaluation.runner import Runner
from unskew.evaluation.stopwatch import Stopwatch
from unskew.evaluation.suite import (
    AUTO,
    GENERATION,
    Entry,
    JudgeAnswers,
    Sitting,
    benchmark_names,
    entries,
)
from unskew.judge_settings import JudgeConfig
from unskew.judging.panel import Panel, judges_for, panel_for
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import Reference
from unskew.models.tokens import Encoder
from unskew.protocols import AsksJudge, Judge
from unskew.rating import Classifier, Quality, UsesClassifiers
from unskew.recording import data_info
from unskew.reports.record import DataInfo, MetricRow, NotMeasured
from unskew.reports.storage import write_conversations, write_samples
from unskew.schema import EvaluationConfig
from unskew.training.launch import is_main_process
from unskew.types import Answer, Dataset, Examples, Generation, Metric, Request

Evaluate = Callable[[Any], list[Metric]]
"""Scores the policy; what it is given is not looked at."""


class Measuring:
    """What is measured in a run, and how.

    Args:
        dataset: All splits.
        settings: Benchmarks and their options.
        seed: Of bootstrap and sampling.

    Raises:
        UnknownName: A benchmark does not exist.
        ConfigError: A benchmark needs a judge and there is none, or it cannot be asked.
        BenchmarkError: The data cannot serve a benchmark that was asked for.
        DataError: The data that a benchmark was given (`NAME:PLACE`) cannot be read.
    """

    def __init__(self, dataset: Dataset, settings: EvaluationConfig, seed: int) -> None:
        self.dataset = dataset
        self.settings = settings
        self.seed = seed
        own = [n for n in settings.benchmarks if is_own(n)]
        asked = [n for n in settings.benchmarks if not is_own(n)]
        self.names = benchmark_names(dataset.splits["report"], asked)
        self.own = read_own([n for n in own if not is_task(n)], self.names)
        self.tasks = load_tasks([n for n in own if is_task(n)])
        self.judges = self._judges()
        self.classifiers = self._classifiers()
        self._panel: Panel | None = None
        self.timed = Stopwatch()

    def report(
        self,
        phase: str,
        path: ScoringPath,
        encoder: Encoder,
        references: Mapping[str, Reference],
        run_dir: Path,
    ) -> list[MetricRow]:
        """Every benchmark on the report split or its own data; per-example scores go to `samples/`.

        Args:
            phase: `before`, `after` or another name.
            path: Forward pass of the model.
            encoder: Its tokeniser.
            references: Models to compare with, the one nearest to the truth last.
            run_dir: Folder of the run.
        """
        options = self._options()
        suite = entries(
            self.dataset.splits["report"],
            "report",
            names=self.names,
            references=tuple(references),
            options=options,
        )
        for own in self.own:
            suite += own.entries(tuple(references), options.get(own.benchmark, {}))
        runners = self._runners(path, encoder, references)
        rows: list[MetricRow] = []
        for entry in suite:
            read = self._reading(entry, phase, run_dir)
            with self.timed(phase, entry.benchmark.name):
                found = Sitting(entry, runners[entry.reference], read).measure()
            rows.extend(MetricRow.measured(phase, m) for m in found.metrics)
            if is_main_process():
                write_samples(run_dir, phase, found.entry.label, found.scores)
        for task in self.tasks:
            scores, metrics = task.measure(runners[None])
            rows.extend(MetricRow.measured(phase, m) for m in metrics)
            if is_main_process():
                write_samples(run_dir, phase, task.label, scores)
        return rows

    def own_data(self) -> dict[str, DataInfo]:
        """What benchmarks on data of their own read, by their label."""
        return {own.label: data_info(own.dataset) for own in self.own}

    def selector(
        self, path: ScoringPath, encoder: Encoder, references: Mapping[str, Reference]
    ) -> Evaluate:
        """A function that scores the policy on the select split, for the controllers.

        Sampled text is left to the report: it costs more than all the rest and decides nothing.
        """
        examples = capped(self.dataset.splits["select"], self.settings.select_per_category)
        asked = [n for n in self.settings.benchmarks if n != GENERATION and not is_own(n)]
        names = [n for n in benchmark_names(examples, asked or [AUTO]) if n != GENERATION]
        return self.evaluator(examples, "select", names, path, encoder, references)

    def evaluator(
        self,
        examples: Examples,
        split: str,
        names: Sequence[str],
        path: ScoringPath,
        encoder: Encoder,
        references: Mapping[str, Reference],
    ) -> Evaluate:
        """A function that scores the policy on chosen examples, without intervals."""
        suite = entries(
            examples,
            split,
            names=names,
            references=tuple(references),
            options=self._options(),
            num_resamples=0,
        )
        runners = self._runners(path, encoder, references)
        sittings = [(e.benchmark.name, Sitting(e, runners[e.reference])) for e in suite]

        def evaluate(_: Any) -> list[Metric]:
            found: list[Metric] = []
            for name, sitting in sittings:
                with self.timed(split, name):
                    found += sitting.measure().metrics
            return found

        return evaluate

    def _judges(self) -> list[Judge]:
        asked = self._judged()
        if not asked:
            return []
        if self.settings.judge is None:
            raise ConfigError(
                f"{asked[0]} needs a judge; give its settings (evaluation.judge.model=..., or "
                "--judge FILE.yaml of `unskew evaluate`), see docs/judge.md"
            )
        return judges_for(self.settings.judge)

    def _classifiers(self) -> dict[Quality, Classifier]:
        asked = [*self.names, *(own.benchmark for own in self.own)]
        if not any(map(is_rated, asked)):
            return {}
        return {
            quality: build(CLASSIFIERS, node, f"evaluation.rating.classifiers.{quality}")
            for quality, node in self.settings.rating.classifiers.items()
        }

    def _reading(self, entry: Entry, phase: str, run_dir: Path) -> JudgeAnswers | None:
        """Who reads the answers to a benchmark before they are scored."""
        if isinstance(entry.benchmark, AsksJudge):
            return self._judging(phase, run_dir)
        if isinstance(entry.benchmark, UsesClassifiers) and self.classifiers:
            return lambda entry, requests, answers: by_first(
                lambda: rated(answers, self.classifiers)
            )
        return None

    def _judged(self) -> list[str]:
        asked = [*self.names, *(own.benchmark for own in self.own)]
        return [name for name in asked if is_judged(name)]

    def _judging(self, phase: str, run_dir: Path) -> JudgeAnswers:
        """Stores what was said, then has it judged, on the first process."""

        def judge(
            entry: Entry, requests: Mapping[str, Request], answers: Mapping[str, Answer]
        ) -> Mapping[str, Answer]:
            def once() -> Mapping[str, Answer]:
                assert self.settings.judge is not None
                assert isinstance(entry.benchmark, AsksJudge)
                write_conversations(run_dir, phase, entry.label, requests, answers)
                if self._panel is None:
                    self._panel = panel_for(self.settings.judge, self.judges, run_dir)
                return self._panel.judge(entry.benchmark, requests, answers)

            return by_first(once)

        return judge

    def _options(self) -> dict[str, dict[str, Any]]:
        given = judged_options(self.settings.judge) if self.settings.judge else {}
        judged = dict.fromkeys(self._judged(), given)
        rating = self.settings.rating.model_dump(exclude={"classifiers"})
        continued = {name: rating for name in BENCHMARKS if is_rated(name)}
        return {"stereoset": {"start": self.settings.start}, **continued, **judged}

    def _runners(
        self, path: ScoringPath, encoder: Encoder, references: Mapping[str, Reference]
    ) -> dict[str | None, Runner]:
        return {
            name: Runner(
                path,
                encoder,
                reference=references[name] if name is not None else None,
                tokens_per_batch=self.settings.tokens_per_batch,
                seed=self.seed,
            )
            for name in (None, *references)
        }


def judged_options(settings: JudgeConfig) -> dict[str, Any]:
    """Arguments of a judged benchmark that the settings of the judge hold."""
    return {
        "max_new_tokens": settings.max_new_tokens,
        "per_category": settings.items_per_category,
    }


def is_judged(benchmark: str) -> bool:
    """Whether a judge reads the answers to a benchmark."""
    return issubclass(BENCHMARKS.load(benchmark), AsksJudge)


def is_rated(benchmark: str) -> bool:
    """Whether classifiers rate the answers to a benchmark."""
    return hasattr(BENCHMARKS.load(benchmark), "rated")


def rated(
    answers: Mapping[str, Answer], classifiers: Mapping[Quality, Classifier]
) -> dict[str, Answer]:
    """The answers, with what classifiers say of each continuation that is not empty."""
    written = {
        i: answer
        for i, answer in answers.items()
        if isinstance(answer, Generation) and answer.text.strip()
    }
    texts = [answer.text for answer in written.values()]
    ratings: dict[str, dict[Quality, float]] = {i: {} for i in written}
    for quality, classifier in classifiers.items():
        for i, rating in zip(written, classifier.rate(texts), strict=True):
            ratings[i][quality] = rating
    return {**answers, **{i: replace(a, ratings=ratings[i]) for i, a in written.items()}}


def not_measured(rows: Sequence[MetricRow]) -> list[NotMeasured]:
    """What a reader might look for and does not find among the rows, with the reason."""
    measured = {row.benchmark for row in rows}
    missing: list[NotMeasured] = []
    for name in BENCHMARKS.built_in:
        if name not in measured:
            compares = BENCHMARKS.load(name).comparison != "none"
            lacks = ", or there was no model to compare with" if compares else ""
            why = f"not asked for, or the data has nothing to ask{lacks}"
            missing.append(NotMeasured(what=name, why=why))
        elif is_rated(name):
            metrics = [row.metric for row in rows if row.benchmark == name]
            missing += [
                NotMeasured(
                    what=f"{name}: {quality}",
                    why=f"no classifier for it (evaluation.rating.classifiers.{quality}); see "
                    "docs/classifiers.md",
                )
                for quality in BENCHMARKS.load(name).rated
                if not any(metric.startswith(f"{quality}_") for metric in metrics)
            ]
    robustness = "no relearning or quantisation attack was run"
    return [*missing, NotMeasured(what="robustness", why=robustness)]
