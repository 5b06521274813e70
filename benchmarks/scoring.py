"""Scoring whole benchmarks, against lm-evaluation-harness' HFLM on the same requests.

    python benchmarks/scoring.py --model MODEL --stereoset FILE --crows-pairs FILE --bbq FILE

Both score the same texts after the same contexts, one after the other in one process, so often as
`--rounds` says; a ratio is of medians. The largest difference of a summed log-probability is
printed beside, since a faster wrong answer would be no feat. Needs `pip install lm-eval`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from unskew.benchmarks.bbq import BBQ
from unskew.benchmarks.crows_pairs import CrowsPairs
from unskew.benchmarks.stereoset import StereoSet
from unskew.data.bbq import load_bbq
from unskew.data.load import load_dataset
from unskew.evaluation.runner import Runner
from unskew.models.load import load_model
from unskew.models.logprobs import ScoringPath
from unskew.types import LikelihoodRequest, Segment

BATCH = 64


def requests_of(benchmark: Any) -> list[LikelihoodRequest]:
    return [r for r in benchmark.requests() if isinstance(r, LikelihoodRequest)]


def split(segment: Segment, start: str) -> tuple[str, str]:
    """Context and continuation, as the harness wants them.

    It puts a start token where there is no context, and leaves it out where there is one.
    """
    context = segment.text[: segment.completion_start].rstrip()
    return (start + context if context else ""), segment.text[len(context) :]


def ours(runner: Runner, requests: list[LikelihoodRequest]) -> Callable[[], list[float]]:
    def score() -> list[float]:
        answers = runner.answer(requests)
        return [scored.logprob for r in requests for scored in answers[r.id]]

    return score


def theirs(harness: HFLM, segments: list[Segment], start: str) -> Callable[[], list[float]]:
    instances = [
        Instance(request_type="loglikelihood", doc={}, arguments=split(s, start), idx=i)
        for i, s in enumerate(segments)
    ]
    return lambda: [found[0] for found in harness.loglikelihood(instances, disable_tqdm=True)]


def measured(
    ours: Callable[[], Sequence[float]], theirs: Callable[[], Sequence[float]], rounds: int
) -> tuple[float, float, float]:
    """Median seconds of both, and the largest difference of a score."""
    seconds: tuple[list[float], list[float]] = ([], [])
    off = 0.0
    for _ in range(rounds):
        found = []
        for score, taken in zip((ours, theirs), seconds, strict=True):
            begun = time.perf_counter()
            found.append(score())
            taken.append(time.perf_counter() - begun)
        off = max(off, *(abs(a - b) for a, b in zip(*found, strict=True)))
    return statistics.median(seconds[0]), statistics.median(seconds[1]), off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--stereoset", required=True)
    parser.add_argument("--crows-pairs", required=True)
    parser.add_argument("--bbq", required=True)
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    stereoset = load_dataset(asked.stereoset, splits=None).splits["report"]
    crows = load_dataset(asked.crows_pairs, format="crows_pairs", splits=None).splits["report"]
    bbq = load_bbq(asked.bbq).splits["report"]
    benchmarks = {
        "StereoSet": StereoSet(stereoset, split="report", start="prefix"),
        "CrowS-Pairs": CrowsPairs(crows, split="report", start="prefix"),
        "BBQ": BBQ(bbq, split="report"),
    }
    loaded = load_model(asked.model)
    runner = Runner(ScoringPath(loaded.model), loaded.encoder)
    harness = HFLM(
        pretrained=load_model(asked.model).model, tokenizer=loaded.tokenizer, batch_size=BATCH
    )
    adds_start = loaded.tokenizer("a")["input_ids"][:1] == [loaded.encoder.start_id]
    start = "" if adds_start else loaded.tokenizer.decode([loaded.encoder.start_id])
    print("| what | requests | unskew | HFLM | times | largest difference, nats |")
    print("|---|---|---|---|---|---|")
    for name, benchmark in benchmarks.items():
        requests = requests_of(benchmark)
        segments = [s for r in requests for s in r.segments]
        fast, slow, off = measured(
            ours(runner, requests), theirs(harness, segments, start), asked.rounds
        )
        print(
            f"| {name} | {len(segments)} | {fast:.1f} s | {slow:.1f} s | {slow / fast:.2f}x | "
            f"{off:.2g} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
