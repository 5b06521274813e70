"""Requests of every kind, and one model's answers to them as JSON."""

from __future__ import annotations

from typing import Any, get_args

from tests.fixtures import documents, encoder, pairs, tiny_model, with_adapter
from unskew.benchmarks.seat import SEAT
from unskew.chat import ChatRequest, Conversation
from unskew.embeddings import Association, Embedding
from unskew.evaluation.runner import Runner
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import AdapterOffReference
from unskew.types import (
    Answer,
    Divergence,
    DivergenceRequest,
    Examples,
    Generation,
    GenerationRequest,
    LikelihoodRequest,
    Request,
    Segment,
)


def association() -> SEAT:
    """A test of the texts at hand: stereotypes against anti-stereotypes."""
    sets = [
        tuple(pair.texts[side] for pair in pairs()[begin : begin + 5])
        for begin in (0, 5)
        for side in (0, 1)
    ]
    test = Association("test", "gender", (sets[0], sets[1]), (sets[2], sets[3]))
    return SEAT(Examples(associations=(test,)), split="report")


def requests() -> list[Request]:
    """Of each kind an odd number, at least three, so that shares are unequal."""
    texts = [p.stereotype for p in pairs()[:5]]
    likelihoods = [
        LikelihoodRequest(f"likelihood {p.id}", tuple(map(Segment, p.texts))) for p in pairs()[:5]
    ]
    found: list[Request] = [
        *likelihoods,
        *(LikelihoodRequest(f"start {i}", (Segment(t),), "prefix") for i, t in enumerate(texts)),
        *(
            DivergenceRequest(f"divergence {d.id}", Segment(d.text), ("is",))
            for d in documents()[:3]
        ),
        *(GenerationRequest(f"sampled {i}", t, 6) for i, t in enumerate(texts)),
        *(GenerationRequest(f"greedy {i}", t, 6, do_sample=False) for i, t in enumerate(texts)),
        *(ChatRequest(f"chat {i}", (t, t), 4, temperature=0.7) for i, t in enumerate(texts[:3])),
        *(ChatRequest(f"choice {i}", (t,), options=("kind", "rich")) for i, t in enumerate(texts)),
        *association().requests(),
    ]
    assert {type(request) for request in found} == set(get_args(Request))
    return found


def answers() -> dict[str, Any]:
    """What the model says, by request id, and what SEAT makes of it."""
    model = with_adapter(tiny_model())
    path = ScoringPath(model)
    found = Runner(path, encoder(), reference=AdapterOffReference(path), seed=5).answer(requests())
    seat = association()
    scores = [seat.score(r, found[r.id]) for r in seat.requests()]
    metrics = {f"{m.variant}/{m.category}/{m.metric}": m.value for m in seat.metrics(scores)}
    return {"metrics": metrics, **{i: _plain(answer) for i, answer in sorted(found.items())}}


def _plain(answer: Answer) -> Any:
    match answer:
        case Embedding():
            return {"vector": answer.vector.tolist(), "sets": [s.tolist() for s in answer.sets]}
        case Generation():
            return {"tokens": list(answer.token_ids), "entropy": answer.mean_entropy}
        case Conversation():
            return list(answer.replies)
        case Divergence():
            return [answer.kl_reference_policy, answer.slot_kl_reference_policy]
        case _:
            return [score.logprob for score in answer]
