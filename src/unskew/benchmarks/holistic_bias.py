"""HolisticBias: are sentences about people equally likely, whatever word describes them?

Source: Smith et al. 2022, arXiv 2205.09209, likelihood bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from unskew.benchmarks._aggregation import AggregatedBenchmark, finite, number
from unskew.benchmarks._likelihood_bias import Blocks, bias_of, blocks_of, drawn_bias
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.data.holistic_bias import TEMPLATES
from unskew.data.rows import some_of_each
from unskew.errors import BenchmarkError
from unskew.items import Descriptor
from unskew.paired import Difference
from unskew.statistics import Sums, percentile_interval
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

__all__ = ["HolisticBias"]

ALL = "all templates"
LIKELIHOOD_BIAS = "likelihood_bias"
_NLL, _TOKENS = range(2)
_Cells = dict[tuple[str, str], list[Blocks]]
"""(variant, category) -> what is compared in it."""
_nll_per_token = pooled(_NLL, _TOKENS)


def _perplexity(sums: Sums) -> NDArray[np.float64]:
    return np.exp(_nll_per_token(sums))


class HolisticBias(AggregatedBenchmark[Descriptor]):
    """Likelihood bias: pairs of descriptors of an axis whose sentences differ in perplexity.

    For each axis and template, each pair of descriptors is compared by a two-sided Mann-Whitney U
    test on the perplexities of their sentences, one for each noun; `likelihood_bias` is the share
    of pairs with p < .05, 0 at best and about .05 by chance. It rises with the number of nouns, so
    compare only where the sentences are the same. n is pairs. `perplexity` is over all tokens.

    Start token in front. Variants: each template, and all of them together. Categories: axes.
    Intervals draw descriptors.

    Args:
        examples: With descriptors.
        split: Name of the split.
        descriptors_per_axis: At most so many, chosen by their ids alone; all if None.
        templates: Those asked; all that the data has if None or if it has none of them.
        **options: `categories` (axes), `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: No descriptor, an axis without one, a duplicate id, fewer than two
            descriptors an axis.
    """

    name = "holistic_bias"
    version = "1"
    needs = "descriptors"
    headline = ALL
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity("perplexity", "ppl", 1, "lower", _perplexity, _TOKENS),
    )

    def __init__(
        self,
        examples: Examples,
        *,
        split: str,
        descriptors_per_axis: int | None = 12,
        templates: Sequence[str] | None = TEMPLATES,
        **options: Any,
    ) -> None:
        super().__init__(examples, split=split, **options)
        if descriptors_per_axis is not None:
            if descriptors_per_axis < 2:
                raise BenchmarkError(
                    f"holistic_bias: descriptors_per_axis is {descriptors_per_axis}; give at "
                    "least 2, for one pair"
                )
            chosen = some_of_each(list(self.items.values()), descriptors_per_axis)
            self.items = {item.id: item for item in chosen}
        self._templates = None if templates is None else set(templates)

    def requests(self) -> Iterable[Request]:
        for item in self.items.values():
            for template in self._asked(item):
                for singular, plural in item.nouns:
                    one = f"{item.article} {item.text} {singular}"
                    text = template.replace("{noun_phrase}", one)
                    text = text.replace("{plural_noun_phrase}", f"{item.text} {plural}")
                    key = f"{item.id}|{template}|{singular}"
                    yield LikelihoodRequest(key, (Segment(text),), "prefix")

    def _asked(self, item: Descriptor) -> Sequence[str]:
        known = self._templates
        chosen = [t for t in item.templates if known is None or t in known]
        return chosen or item.templates

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(answer, tuple)
        key, template, noun = request.id.rsplit("|", 2)
        item = self.items[key]
        finite(request.id, logprob=answer[0].logprob)
        values = {
            "variant": template,
            "noun": noun,
            "nll": -answer[0].logprob,
            "num_tokens": float(answer[0].num_tokens),
        }
        return SampleScore(request.id, item.category, item.text, values)

    @classmethod
    def variants(cls, score: SampleScore) -> tuple[str, ...]:
        return ALL, str(score.values["variant"])

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        return number(score, "nll"), number(score, "num_tokens")

    @classmethod
    def group(cls, score: SampleScore) -> str:
        return f"{score.category}/{score.target}"

    @classmethod
    def aggregate(
        cls,
        scores: Sequence[SampleScore],
        *,
        split: str,
        num_resamples: int = 1000,
        seed: int = 0,
    ) -> list[Metric]:
        found = super().aggregate(scores, split=split, num_resamples=num_resamples, seed=seed)
        biases = [
            Metric(
                cls.name,
                variant,
                split,
                category,
                LIKELIHOOD_BIAS,
                *bias_of(blocks),
                *(percentile_interval(drawn_bias(blocks, num_resamples, seed)) or (None, None)),
                0,
                "lower",
                "fraction",
            )
            for (variant, category), blocks in _cells(scores).items()
        ]
        return [*biases, *found]

    @classmethod
    def differences(
        cls,
        scores: Mapping[str, Sequence[SampleScore]],
        pairs: Sequence[tuple[str, str]],
        *,
        num_resamples: int = 2000,
        seed: int = 0,
    ) -> dict[tuple[str, str, str], dict[tuple[str, str], Difference]]:
        """As of every benchmark; those of `likelihood_bias` have an interval and no p-value."""
        found = super().differences(scores, pairs, num_resamples=num_resamples, seed=seed)
        of_run = {name: _cells(run) for name, run in scores.items()}
        for key in next(iter(of_run.values())):
            values = {name: bias_of(cells[key])[0] for name, cells in of_run.items()}
            drawn = {
                name: drawn_bias(cells[key], num_resamples, seed) for name, cells in of_run.items()
            }
            found[*key, LIKELIHOOD_BIAS] = {
                (first, second): Difference(
                    values[second] - values[first],
                    *(percentile_interval(drawn[second] - drawn[first]) or (None, None)),
                    None,
                    None,
                )
                for first, second in pairs
            }
        return found


def _cells(scores: Sequence[SampleScore]) -> _Cells:
    """What is compared, overall first, of cells that have a pair."""
    samples: dict[tuple[str, str], dict[str, list[float]]] = {}
    for score in sorted(scores, key=lambda score: score.id):
        of_template = samples.setdefault((score.category, str(score.values["variant"])), {})
        nll = number(score, "nll") / number(score, "num_tokens")
        of_template.setdefault(score.target, []).append(nll)
    arrays = {
        key: {name: np.array(values) for name, values in groups.items()}
        for key, groups in samples.items()
    }
    variants = [ALL, *sorted({template for _, template in arrays})]
    cells: _Cells = {}
    for variant in variants:
        chosen = {key: value for key, value in arrays.items() if variant in (ALL, key[1])}
        blocks = blocks_of(chosen)
        if blocks:
            cells[variant, OVERALL] = blocks
        cells |= {(variant, block.axis): [block] for block in blocks}
    return cells
