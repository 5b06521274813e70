"""Our bias benchmarks as tasks of the harness; its task files name these functions.

Question, score and aggregation are the benchmark's own, so that one model gets one number,
whoever asks it. The harness hands back summed log-probabilities without the number of tokens,
and puts a start token in front of a context only where the tokenizer does. Both need the model's
tokenizer while the data is read: the harness passes the arguments of the model along with its
metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import datasets

from unskew.benchmarks import BENCHMARKS
from unskew.data.bbq import load_bbq
from unskew.data.load import load_dataset
from unskew.data.winobias import load_winobias
from unskew.data.winogender import load_winogender
from unskew.errors import DataError
from unskew.items import ChoiceQuestion, Coreference
from unskew.models.tokens import Encoder
from unskew.types import (
    OVERALL,
    Dataset,
    Examples,
    LikelihoodRequest,
    Pair,
    SampleScore,
    Segment,
    SequenceScore,
)

Doc = dict[str, Any]
ANY_LENGTH = 2**31 - 1
"""The harness judges lengths itself."""


@dataclass(frozen=True)
class BiasTask:
    """A benchmark as the harness sees one: rows, the score of a row, a number of all rows.

    Args:
        name: Of the task, and of the place of its data in the metadata.
        benchmark: Name in our table.
        load: Reads a place.
        item: Class of what the benchmark asks about.
        metrics: Those that the task file lists.
        options: Further arguments of the benchmark.
    """

    name: str
    benchmark: str
    load: Callable[[str], Dataset]
    item: type[Pair | ChoiceQuestion | Coreference]
    metrics: tuple[str, ...]
    options: Mapping[str, Any]

    def data(self, **metadata: Any) -> dict[str, datasets.Dataset]:
        """The rows: `context`, `choices`, `num_tokens` of each choice, and `item` as JSON.

        Raises:
            DataError: No place or no model was named, the data cannot be read, or the tokenizer
                joins a context to what follows it.
        """
        place = metadata.get(self.name)
        if not place:
            raise DataError(
                f"{self.name}: no place was named; lm_eval: --metadata "
                f'\'{{"{self.name}": "PLACE"}}\', unskew: evaluate --benchmarks {self.benchmark}'
            )
        encoder = Encoder(self._tokenizer(metadata), ANY_LENGTH)
        rows = list(self._rows(self.load(str(place)).splits["report"], encoder))
        return {"test": datasets.Dataset.from_list(rows)}

    def scored(self, doc: Doc, results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
        """Score of one row, under the name of each metric: aggregation needs it whole.

        Args:
            doc: A row of `data`.
            results: Summed log-probability of each choice, in nats, and whether it is greedy.
        """
        stored = json.loads(doc["item"])
        fields: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
        item = self.item(**fields)
        needs: Any = {BENCHMARKS.load(self.benchmark).needs: (item,)}
        benchmark = self._made(Examples(**needs))
        (request,) = benchmark.requests()
        answer = tuple(
            SequenceScore(logprob, count, is_greedy)
            for (logprob, is_greedy), count in zip(results, doc["num_tokens"], strict=True)
        )
        score = asdict(benchmark.score(request, answer))
        # The harness averages whatever else it is handed as a plain number.
        return dict.fromkeys(self.metrics, score)

    def metric(self, name: str, scores: Sequence[Mapping[str, Any]]) -> float:
        """Value of a metric over all categories; NaN where it has none.

        Args:
            name: Of the metric.
            scores: What `scored` gave for each row.
        """
        found = BENCHMARKS.load(self.benchmark).aggregate(
            [SampleScore(**score) for score in scores], split="report", num_resamples=0
        )
        values = [m.value for m in found if (m.metric, m.category) == (name, OVERALL)]
        return values[0] if values else float("nan")

    def _made(self, examples: Examples) -> Any:
        made = BENCHMARKS.load(self.benchmark)
        return made(examples, split="report", num_resamples=0, **self.options)

    def _tokenizer(self, metadata: Mapping[str, Any]) -> Any:
        from transformers import AutoTokenizer

        model = metadata.get("tokenizer") or metadata.get("pretrained")
        if not model:
            raise DataError(
                f"{self.name} counts tokens and needs the model's name; lm_eval: --model hf "
                f"--model_args pretrained=MODEL, unskew: evaluate --benchmarks {self.benchmark}"
            )
        return AutoTokenizer.from_pretrained(model, revision=metadata.get("revision", "main"))

    def _rows(self, examples: Examples, encoder: Encoder) -> Iterator[Doc]:
        benchmark = self._made(examples)
        for request in benchmark.requests():
            assert isinstance(request, LikelihoodRequest) and request.start == "prefix"
            begin = request.segments[0].completion_start
            shared = request.segments[0].text[:begin].rstrip()
            context, counts = _encoded(shared, request.segments, encoder, self.name)
            yield {
                "context": context,
                "choices": [segment.text[len(shared) :] for segment in request.segments],
                "num_tokens": counts,
                "item": json.dumps(asdict(benchmark.items[request.id])),
            }


def _encoded(
    shared: str, segments: Sequence[Segment], encoder: Encoder, task: str
) -> tuple[str, list[int]]:
    """Context that gives the harness our tokens, and the number of those scored in each text."""
    tokens = encoder.encode(segments)
    counts = [t.num_scored for t in tokens]
    if not shared:
        # The harness itself puts the start token where there is no context.
        return "", counts
    tokenizer = encoder.tokenizer
    adds_start = tokenizer("a")["input_ids"][:1] == [encoder.start_id]
    start = "" if adds_start else tokenizer.decode([encoder.start_id])
    for text, own in ((shared, t.ids[: t.first]) for t in tokens):
        if tuple(tokenizer(start + text)["input_ids"]) != own:
            raise DataError(
                f"{task}: the tokenizer joins {text[-40:]!r} to what follows it, which the harness "
                "scores otherwise; measure it by unskew evaluate"
            )
    return start + shared, counts


def _pairs(task: str) -> Callable[[str], Dataset]:
    return lambda place: load_dataset(place, tasks=[task], splits=None)


def _questions_of_winobias(place: str) -> Dataset:
    """Without the counterparts: a row of the harness has one context, and they have another."""
    dataset = load_winobias(place)
    asked = [replace(c, counterpart="") for c in dataset.splits["report"].coreferences]
    return replace(dataset, splits={"report": Examples(coreferences=tuple(asked))})


_OF_STEREOSET = ("ss", "lms", "icat", "mean_gap")
intrasentence = BiasTask(
    "unskew_stereoset_intrasentence",
    "stereoset",
    _pairs("intrasentence"),
    Pair,
    _OF_STEREOSET,
    {"start": "prefix"},
)
intersentence = BiasTask(
    "unskew_stereoset_intersentence",
    "stereoset",
    _pairs("intersentence"),
    Pair,
    _OF_STEREOSET,
    {},
)
crows_pairs = BiasTask(
    "unskew_crows_pairs",
    "crows_pairs",
    partial(load_dataset, format="crows_pairs", splits=None),
    Pair,
    ("stereotype_share", "ties", "mean_gap"),
    {"start": "prefix"},
)
bbq = BiasTask(
    "unskew_bbq",
    "bbq",
    load_bbq,
    ChoiceQuestion,
    ("s_amb", "s_dis", "accuracy_ambig", "accuracy_disambig", "accuracy_all"),
    {},
)
winobias = BiasTask(
    "unskew_winobias",
    "winobias",
    _questions_of_winobias,
    Coreference,
    ("stereotype_gap", "accuracy_pro", "accuracy_anti", "accuracy"),
    {},
)
winogender = BiasTask(
    "unskew_winogender",
    "winogender",
    load_winogender,
    Coreference,
    ("gender_gap", "gotcha_gap", "accuracy", "occupation_share"),
    {},
)

# The harness finds plain attributes of this file only.
intrasentence_data, intrasentence_scored = intrasentence.data, intrasentence.scored
intersentence_data, intersentence_scored = intersentence.data, intersentence.scored
crows_pairs_data, crows_pairs_scored = crows_pairs.data, crows_pairs.scored
bbq_data, bbq_scored = bbq.data, bbq.scored
winobias_data, winobias_scored = winobias.data, winobias.scored
winogender_data, winogender_scored = winogender.data, winogender.scored

ss, lms, icat, gap = (partial(intrasentence.metric, name) for name in intrasentence.metrics)
stereotype_share, ties, crows_gap = (
    partial(crows_pairs.metric, name) for name in crows_pairs.metrics
)
s_amb, s_dis, accuracy_ambig, accuracy_disambig, accuracy_all = (
    partial(bbq.metric, name) for name in bbq.metrics
)
stereotype_gap, accuracy_pro, accuracy_anti, winobias_accuracy = (
    partial(winobias.metric, name) for name in winobias.metrics
)
gender_gap, gotcha_gap, winogender_accuracy, occupation_share = (
    partial(winogender.metric, name) for name in winogender.metrics
)
