"""Do stereotypes take more tokens than anti-stereotypes?"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from unskew.protocols import Comparison, Needs
from unskew.types import (
    OVERALL,
    Answer,
    Examples,
    LikelihoodRequest,
    Metric,
    Request,
    SampleScore,
    Segment,
)


class LengthGap:
    """Mean difference of scored tokens, stereotype minus anti-stereotype.

    Args:
        examples: With pairs.
        split: Name of the split.
        num_resamples: Not used; the interval is the normal one.
    """

    name = "length_gap"
    version = "1"
    needs: Needs = "pairs"
    comparison: Comparison = "none"

    def __init__(self, examples: Examples, *, split: str, num_resamples: int = 0) -> None:
        self.pairs = {pair.id: pair for pair in examples.pairs}
        self.split = split

    @classmethod
    def serves(cls, examples: Examples) -> bool:
        return bool(examples.pairs)

    def requests(self) -> Iterable[Request]:
        for pair in self.pairs.values():
            texts = (pair.stereotype, pair.anti_stereotype)
            segments = tuple(Segment(text, pair.completion_start) for text in texts)
            yield LikelihoodRequest(pair.id, segments)

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, tuple)
        pair = self.pairs[request.id]
        gap = float(answer[0].num_tokens - answer[1].num_tokens)
        return SampleScore(pair.id, pair.category, pair.target, {"gap": gap})

    def metrics(self, scores: Sequence[SampleScore]) -> list[Metric]:
        gaps = [float(score.values["gap"]) for score in scores]
        if not gaps:
            return []
        mean = statistics.fmean(gaps)
        half = 1.96 * statistics.pstdev(gaps) / math.sqrt(len(gaps))
        return [
            Metric(
                benchmark=self.name,
                variant="tokens",
                split=self.split,
                category=OVERALL,
                metric="mean_gap",
                value=mean,
                n=len(gaps),
                ci_low=mean - half,
                ci_high=mean + half,
                ideal=0.0,
                better="closer",
                unit="tokens",
            )
        ]
