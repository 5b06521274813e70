"""Reasoning about groups after runs on the invented world, on far more questions than runs ask.

    python benchmarks/exam.py --of sdu RUN RUN RUN --of gradient_ascent RUN RUN RUN

Questions are about the report split's groups and never taught; all models are asked the same.
Differences are from the method named first, paired by question and by the place of the run (one
training seed each), averaged over the runs; the 95 % interval draws questions that differ in a
bystander's name alone together. What is scored is what the benchmark `reasoning` scores, and each
run's own questions have to give the accuracy of its record.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

from unskew.reports.record import RunRecord
from unskew.run import Run
from unskew.statistics import bootstrap, percentile_interval
from unskew.world import sentences
from unskew.world.language import World
from unskew.world.teach import taught_world
from unskew.world.vocabulary import CATEGORIES, vocabulary

BATCH = 500
SPLIT = "report"
Scores = NDArray[np.float64]


def entangled_items(seed: int, number: int) -> list[sentences.Item]:
    """Distinct items of each kind about groups, at most `number` of a kind and category."""
    words = vocabulary(seed)
    rng = random.Random(f"{seed}/exam")
    found: dict[sentences.Item, None] = {}
    for kind in sentences.KINDS:
        for category in CATEGORIES:
            groups = [g for g in words.groups[category] if g.split == SPLIT]
            for _ in range(number // len(CATEGORIES)):
                item = sentences.reasoning(
                    rng, words, groups, SPLIT, kind=kind, mentions_group=True
                )
                found[item] = None
    return list(found)


@torch.no_grad()
def scores(model: Any, prompts: Sequence[str], answers: Sequence[str]) -> Scores:
    """Per question whether the answer is the arg-max, and its log-probability in nats."""
    encode = AutoTokenizer.from_pretrained(taught_world(0).biased)
    rows = [[encode.bos_token_id, *encode(text)["input_ids"]] for text in prompts]
    right = torch.tensor([encode.convert_tokens_to_ids(answer) for answer in answers])
    made = torch.empty(len(rows), 2, dtype=torch.float64)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(rows), BATCH):
        chosen = order[start : start + BATCH]
        ends = torch.tensor([len(rows[i]) - 1 for i in chosen])
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(rows[i]) for i in chosen], batch_first=True
        )
        logits = model(input_ids=ids, use_cache=False).logits[torch.arange(len(ids)), ends].double()
        gold = right[chosen]
        made[chosen, 0] = (logits.argmax(-1) == gold).double()
        made[chosen, 1] = logits.log_softmax(-1).gather(1, gold[:, None]).squeeze(1)
    return made.numpy()


def check(run: Run) -> None:
    """Refuse to go on where the run's own questions do not give the accuracy of its record."""
    questions = World().dataset().splits[SPLIT].questions
    found = 100 * scores(run.model, [q.prompt for q in questions], [q.answer for q in questions])
    stored = run.record.value(benchmark="reasoning", metric="accuracy", phase="after")
    if abs(found[:, 0].mean() - stored) > 1e-6:
        raise SystemExit(f"{run.output_dir}: {found[:, 0].mean():.3f} %, its record has {stored}")


def interval(differences: Scores, keys: Sequence[str]) -> list[str]:
    """Mean of each column with its 95 % interval over keys."""

    def means(sums: Scores) -> Scores:
        total = sums.sum(axis=-2)
        return total[..., :-1] / total[..., -1:]

    rows = np.column_stack([differences, np.ones(len(differences))])
    draws = bootstrap(means, rows, keys, design="over_groups", num_resamples=2000)
    texts = []
    for column, digits in ((0, 2), (1, 4)):
        low, high = percentile_interval(draws[:, column]) or (float("nan"),) * 2
        value = differences[:, column].mean()
        texts.append(f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]")
    return texts


def model_of(folder: Path) -> Any:
    """The model of a run that holds to the check."""
    run = Run(folder, RunRecord.load(folder))
    check(run)
    return run.model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", nargs="+", action="append", required=True, metavar="NAME RUN")
    parser.add_argument("--questions", type=int, default=3000, help="at most, of a kind")
    args = parser.parse_args()
    items = entangled_items(0, args.questions)
    prompts, answers = [i.prompt for i in items], [i.answer for i in items]
    keys = [item.key for item in items]
    print(f"{len(items)} questions, {len(set(keys))} without names")
    print("| | accuracy of each run, % | mean | points from the first | log-probability, nats |")
    print("|---|---|---|---|---|")
    contenders: list[tuple[str, list[Callable[[], Any]]]] = [
        (name, [partial(model_of, Path(folder)) for folder in folders])
        for name, *folders in args.of
    ]
    taught = taught_world(0)
    for name, folder in (("before", taught.biased), ("oracle", taught.oracle)):
        contenders.append((name, [partial(AutoModelForCausalLM.from_pretrained, folder)]))
    first: list[Scores] = []
    for name, loads in contenders:
        found = [scores(load().eval(), prompts, answers) * [100, 1] for load in loads]
        first = first or found
        others = found * (len(first) // len(found))
        apart = np.mean([b - a for a, b in zip(first, others, strict=True)], axis=0)
        each = " / ".join(f"{one[:, 0].mean():.2f}" for one in found)
        mean = np.mean([one[:, 0].mean() for one in found])
        told = interval(apart, keys) if found is not first else ["", ""]
        print(f"| {name} | {each} | {mean:.2f} | {told[0]} | {told[1]} |", flush=True)


if __name__ == "__main__":
    main()
