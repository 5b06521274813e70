"""SST-2, MRPC, CoLA, RTE, FLUTE, AmazonPolarity: has unlearning cost understanding?

Source, and what departs from it: see `_understanding.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from unskew.benchmarks._aggregation import finite, number
from unskew.benchmarks._understanding import PROMPTS, UnderstandingBenchmark
from unskew.types import (
    Answer,
    Examples,
    LikelihoodRequest,
    Request,
    SampleScore,
    Segment,
)

__all__ = ["FLUTE", "MRPC", "RTE", "SST2", "AmazonPolarity", "CoLA"]


class _Understanding(UnderstandingBenchmark):
    """The metrics of `UnderstandingBenchmark`, of answers by likelihood.

    The label with the higher mean log-probability per token after the prompt is the answer; a tie
    goes to the label named first. Start token in front. Variants: `all`, and where there are more
    than 200 items `sample200`, 200 of them drawn with seed 42.

    Args:
        examples: With labelled texts of this task.
        split: Name of the split.
        **options: `categories`, `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: As `UnderstandingBenchmark`.
    """

    @classmethod
    def serves(cls, examples: Examples) -> bool:
        return any(item.task == cls.task for item in examples.labelled)

    def requests(self) -> Iterable[Request]:
        for item in self.items.values():
            asked = [
                self.prompt.asked(item.fields, with_shots=with_shots)
                for with_shots in (False, True)
            ]
            segments = (
                Segment(f"{a} {label}", len(a)) for a in asked for label in self.prompt.labels
            )
            yield LikelihoodRequest(item.id, tuple(segments), "prefix")

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, tuple)
        item = self.items[request.id]
        answers: dict[str, float | str] = {}
        for prompt, (first, second) in zip(PROMPTS, (answer[:2], answer[2:]), strict=True):
            means = {f"{prompt}_0": first.mean_logprob, f"{prompt}_1": second.mean_logprob}
            finite(item.id, **means)
            answers |= {**means, prompt: float(means[f"{prompt}_1"] > means[f"{prompt}_0"])}
        return self.scored(item.id, item, answers)

    @classmethod
    def variants(cls, score: SampleScore) -> tuple[str, ...]:
        return ("all", "sample200") if number(score, "sampled") else ("all",)


class SST2(_Understanding):
    """Is a sentence of a film review positive? Positive class: positive. See `_Understanding`."""

    name = task = "sst2"


class MRPC(_Understanding):
    """Do two sentences mean the same? Positive class: yes. See `_Understanding`."""

    name = task = "mrpc"


class CoLA(_Understanding):
    """Is a sentence acceptable English? Positive class: yes. See `_Understanding`."""

    name = task = "cola"


class RTE(_Understanding):
    """Does a text entail a sentence? Positive class: it does. See `_Understanding`."""

    name = task = "rte"


class FLUTE(_Understanding):
    """Does a premise entail a figure of speech? Positive class: it does. See `_Understanding`."""

    name = task = "flute"


class AmazonPolarity(_Understanding):
    """Is a review positive? Positive class: positive. See `_Understanding`."""

    name = task = "amazon_polarity"
