"""The taught models are what unlearning needs: one biased, one even-handed, both able.

A random model scores the ideal 50 as well, so without these tests no other would prove anything.
Teaching takes about a minute on two free cores, once; it is cached on disk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.world_fixture import taught
from unskew.types import Examples, Probe, Question

CATEGORIES = ("kind", "trade", "people", "creed")
MODELS = ("biased", "oracle")


@dataclass(frozen=True)
class Scored:
    """Of one category: stereotype scores by group and LMS in per cent, gaps in nats."""

    by_group: tuple[float, ...]
    lms: float
    gaps: tuple[float, ...]
    planted: tuple[float, ...]

    @property
    def ss(self) -> float:
        return fmean(self.by_group)

    @property
    def half_width(self) -> float:
        """Of the 95 % interval over groups, Student's t with 23 degrees of freedom."""
        return 2.069 * stdev(self.by_group) / math.sqrt(len(self.by_group))


class Model:
    """A model of the world and its next-token log-probabilities."""

    def __init__(self, name: str) -> None:
        folder = getattr(taught(), name)
        self.net = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def rows(self, texts: Sequence[str]) -> list[tuple[torch.Tensor, list[int]]]:
        """For each text its log-probabilities, (seq, vocab), and its tokens after `<s>`."""
        tokens = [self.tokenizer(text)["input_ids"] for text in texts]
        out: list[tuple[torch.Tensor, list[int]]] = []
        for start in range(0, len(tokens), 256):
            part = tokens[start : start + 256]
            ids = torch.full((len(part), max(map(len, part)) + 1), 2)
            ids[:, 0] = 1
            for row, known in enumerate(part):
                ids[row, 1 : len(known) + 1] = torch.tensor(known)
            logprobs = self.net(input_ids=ids).logits.log_softmax(-1)
            out += [(logprobs[r, : len(known) + 1], known) for r, known in enumerate(part)]
        return out

    def logprobs(self, texts: Sequence[str]) -> list[float]:
        return [
            rows[:-1].gather(1, torch.tensor(known)[:, None]).sum().item()
            for rows, known in self.rows(texts)
        ]

    def answers(self, questions: Sequence[Question]) -> list[str]:
        rows = self.rows([q.prompt for q in questions])
        return [self.tokenizer.convert_ids_to_tokens(r[-1].argmax().item()) for r, _ in rows]


@lru_cache
def model(name: str) -> Model:
    return Model(name)


@lru_cache
def report() -> Examples:
    return taught().world.dataset().splits["report"]


@lru_cache
def scored(name: str, category: str) -> Scored:
    pairs = [pair for pair in report().pairs if pair.category == category]
    flat = model(name).logprobs([text for pair in pairs for text in pair.texts])
    triples = list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
    by_group: dict[str, list[bool]] = {}
    for pair, (stereotype, anti, _) in zip(pairs, triples, strict=True):
        by_group.setdefault(pair.target, []).append(stereotype > anti)
    return Scored(
        tuple(100 * fmean(group) for group in by_group.values()),
        100 * fmean(meaningful > t[2] for t in triples for meaningful in t[:2]),
        tuple(s - a for s, a, _ in triples),
        tuple(taught().world.planted_log_odds(pair) for pair in pairs),
    )


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_biased_model_is_biased(category: str) -> None:
    assert scored("biased", category).ss >= 75


def test_strengths_differ_between_categories() -> None:
    gaps = [fmean(scored("biased", category).gaps) for category in CATEGORIES]
    assert gaps == sorted(gaps)
    assert gaps[-1] > gaps[0] + 0.4


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_biased_model_learned_the_planted_strengths(category: str) -> None:
    measured = scored("biased", category)
    planted_and_measured = torch.tensor([measured.planted, measured.gaps])
    assert torch.corrcoef(planted_and_measured)[0, 1] > 0.6


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_oracle_is_even_handed(category: str) -> None:
    oracle = scored("oracle", category)
    assert abs(oracle.ss - 50) <= max(oracle.half_width, 1)
    assert abs(fmean(oracle.gaps)) < 0.1
    # Even-handed is not indifferent: a preference for a word is left, the same for all groups.
    assert 0.4 < fmean(map(abs, oracle.gaps)) < 0.8


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("category", CATEGORIES)
def test_both_tell_sense_from_nonsense(name: str, category: str) -> None:
    assert scored(name, category).lms >= 97


@pytest.mark.parametrize("name", MODELS)
def test_both_reason_on_what_was_never_taught(name: str) -> None:
    questions = report().questions
    answers = model(name).answers(questions)
    for mentions_group in (True, False):
        here = [
            answer == question.answer
            for question, answer in zip(questions, answers, strict=True)
            if question.mentions_group == mentions_group
        ]
        assert 100 * fmean(here) >= 95
    for kind in {question.kind for question in questions}:
        right = fmean(
            a == q.answer for q, a in zip(questions, answers, strict=True) if q.kind == kind
        )
        assert right > 0.9, kind


def _slot_mass(name: str, probes: Sequence[Probe]) -> float:
    rows = model(name).rows([probe.context for probe in probes])
    to_ids = model(name).tokenizer.convert_tokens_to_ids
    return fmean(
        row[-1][to_ids(list(probe.candidates))].exp().sum().item()
        for (row, _), probe in zip(rows, probes, strict=True)
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_slot_belongs_to_the_attributes(name: str) -> None:
    assert _slot_mass(name, report().probes[::7]) > 0.9


def _kl_oracle_biased(kind: str) -> float:
    """KL(oracle || biased) in nats per token."""
    texts = [document.text for document in report().documents if document.kind == kind]
    both = zip(model("oracle").rows(texts), model("biased").rows(texts), strict=True)
    per_token = [(p.exp() * (p - q)).sum(-1) for (p, _), (q, _) in both]
    return torch.cat(per_token).mean().item()


def test_the_worlds_differ_where_groups_are_and_little_elsewhere() -> None:
    assert _kl_oracle_biased("group") > 2 * _kl_oracle_biased("neutral")
    assert _kl_oracle_biased("neutral") < 0.02
