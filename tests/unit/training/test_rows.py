"""Pairs in a chunk: what is handed over, against sums by hand, however the chunk is cut."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.fixtures import encoder, pairs, tiny_model, with_adapter
from unskew.data.batches import ChunkSizes, PairChunks
from unskew.data.counterfactual import Counterfactuals, word_table
from unskew.errors import ConfigError, DataError
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import reference_for
from unskew.protocols import Part
from unskew.training.gradients import ChunkGradients
from unskew.training.rows import check_variants
from unskew.types import Segment

QUANTITIES = ("log_odds", "log_odds_per_token", "logprob_per_token", "slot_logprob")


class _Asks:
    """Hands back the policy's and the reference's quantity, one after the other."""

    def __init__(self, quantity, stream="pairs", under="logprob", over="own"):
        part = Part(stream, quantity, needs_reference=True, reference_over=over)
        self.parts = {"asked": part}
        self.stream, self.under = stream, under

    def __call__(self, streams):
        return {"asked": getattr(streams[self.stream], self.under)}


def _rows(stream="pairs", **options):
    sizes = ChunkSizes(0, 0, 0, **{stream: 10})
    return PairChunks(pairs(), sizes=sizes, seed=1, **options).next()


def _source(model, objective, **options):
    path = ScoringPath(model)
    return ChunkGradients(path, reference_for(path), encoder(), objective, **options)


def _by_hand(model, row, quantity):
    """From the whole vocabulary, token by token, with the start token in front or not."""
    ids = [list(encoder().encode([s])[0].ids) for s in row.segments]
    words = row.segment.text[: row.segment.completion_start].split()
    begin = len(words) + 1
    if not row.has_start:
        ids, begin = [i[1:] for i in ids], begin - 1
    logprobs = [model(input_ids=torch.tensor([i])).logits[0].log_softmax(-1) for i in ids]
    scores = [
        [logp[t - 1, i[t]] for t in range(begin, len(i))]
        for i, logp in zip(ids, logprobs, strict=True)
    ]
    means = [sum(s) / len(s) for s in scores]
    return {
        "log_odds": sum(scores[0]) - sum(scores[1]),
        "log_odds_per_token": means[0] - means[1],
        "logprob_per_token": (means[0] + means[1]) / 2,
        "slot_logprob": (scores[0][0].exp() + scores[1][0].exp()).log(),
    }[quantity]


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("without_start", [0.0, 1.0])
def test_each_quantity_and_its_gradient_by_hand(quantity, without_start):
    model = with_adapter(tiny_model())
    rows = _rows(without_start=without_start)
    source = _source(model, _Asks(quantity))
    source.load(rows)
    value = source.gradients({"asked": 1.0})["asked"]
    expected = torch.stack([_by_hand(model, r, quantity) for r in rows]).mean()
    assert value == pytest.approx(expected.item(), rel=1e-5)
    for p, g in zip(source.params, torch.autograd.grad(expected, source.params), strict=True):
        # Sums of a few hundred float32 products in another order.
        torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_reference_is_the_model_without_its_adapter(quantity):
    model = with_adapter(tiny_model())
    rows = _rows()
    path = ScoringPath(model)
    objective = _Asks(quantity, under="reference_logprob")
    source = ChunkGradients(path, reference_for(path), encoder(), objective)
    source.load(rows)
    found = source._stream_values(rows, objective.parts)["pairs"].reference_logprob
    with torch.no_grad(), model.disable_adapter():
        expected = torch.stack([_by_hand(model, r, quantity) for r in rows])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cut", [{"max_examples": 1}, {"max_tokens": 40}, {"max_tokens": 1}])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_a_pair_stays_whole_however_the_chunk_is_cut(quantity, cut):
    found = []
    for options in ({}, cut):
        source = _source(with_adapter(tiny_model()), _Asks(quantity), **options)
        source.load(_rows())
        found.append((source.gradients({"asked": 1.0})["asked"], source.params[0].grad.clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


def test_kl_of_a_pair_is_over_both_rows():
    class Kl:
        parts = {"kl": Part("pairs", "kl_reference_policy", average_over="tokens")}

        def __call__(self, streams):
            return {"kl": streams["pairs"].kl_reference_policy}

    model = with_adapter(tiny_model())
    rows = _rows()
    source = _source(model, Kl())
    source.load(rows)
    singles = [replace(r, id=f"{r.id}{i}", segment=s, against=None)
               for r in rows for i, s in enumerate(r.segments)]  # fmt: skip
    apart = _source(model, Kl())
    apart.load(singles)
    weights = {"kl": 1.0}
    assert source.gradients(weights)["kl"] == pytest.approx(apart.gradients(weights)["kl"])


def test_variants_that_share_their_first_words_part_later():
    row = replace(
        _rows()[0],
        segment=Segment("The nurse is kind and soft", 13),
        against=Segment("The nurse is kind and bold", 13),
    )
    model = with_adapter(tiny_model())
    source = _source(model, _Asks("slot_logprob"))
    source.load([row])
    ids = [encoder().encode([s])[0].ids for s in row.segments]
    logprobs = model(input_ids=torch.tensor([ids[0]])).logits[0, -2].log_softmax(-1)
    expected = math.log(sum(logprobs[i[-1]].exp().item() for i in ids))
    assert source.gradients({"asked": 1.0})["asked"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("against", ["The nurse is kind and soft", "The nurse is kind"])
def test_variants_that_nothing_tells_apart_are_refused(against):
    pair = replace(pairs()[0], id="p7", anti_stereotype=against, completion_start=13)
    pair = replace(pair, stereotype="The nurse is kind and soft")
    with pytest.raises(DataError, match=r"pair p7 are the beginning of the other.s"):
        check_variants([*pairs(), pair], encoder())


def test_a_part_and_its_stream_must_go_together():
    model = with_adapter(tiny_model())
    with pytest.raises(ConfigError, match="asks log_odds of stream retain, whose examples are sin"):
        source = _source(model, _Asks("log_odds", "retain"))
        source.load(PairChunks(pairs()).next())
    with pytest.raises(ConfigError, match="asks logprob of stream pairs, whose examples are whole"):
        _source(model, _Asks("logprob")).load(_rows())


def test_one_stream_has_one_quantity():
    objective = _Asks("log_odds")
    objective.parts["more"] = Part("pairs", "slot_logprob")
    with pytest.raises(
        ConfigError, match=r"'more' asks slot_logprob of stream pairs, .* log_odds;"
    ):
        _source(with_adapter(tiny_model()), objective)


def test_the_teacher_is_the_mean_over_contexts_and_even_without_any():
    model = with_adapter(tiny_model())
    counterfactuals = Counterfactuals(word_table("targets", pairs()), 2)
    objective = _Asks("log_odds_per_token", under="reference_logprob", over="contexts")
    source = _source(model, objective)
    rows = _rows(counterfactuals=counterfactuals)
    bare = replace(rows[0], id="bare", contexts=())
    source.load([*rows, bare])
    found = source._stream_values([*rows, bare], objective.parts)["pairs"].reference_logprob
    assert all(len(r.contexts) == 3 for r in rows)
    with torch.no_grad(), model.disable_adapter():
        expected = [
            sum(_by_hand(model, replace(r, segment=one, against=two), "log_odds_per_token")
                for one, two in r.contexts) / 3
            for r in rows
        ]  # fmt: skip
    torch.testing.assert_close(found[:-1], torch.stack(expected), rtol=1e-5, atol=1e-6)
    assert found[-1] == 0


def test_contexts_of_groups_in_turn_have_one_teacher():
    """Pairs that differ only in their group have the same contexts, and the same log-odds due."""
    table = word_table("targets", pairs())
    group = [p for p in pairs() if p.category == "gender" and p.id.endswith("-0")]
    others = Counterfactuals(table, 3)
    objective = _Asks("log_odds_per_token", under="reference_logprob", over="contexts")
    rows = PairChunks(group, counterfactuals=others, sizes=ChunkSizes(0, 0, 0, pairs=4)).next()
    assert len(rows) == len(group) == 4
    source = _source(with_adapter(tiny_model()), objective)
    source.load(rows)
    found = source._stream_values(rows, objective.parts)["pairs"].reference_logprob
    torch.testing.assert_close(found, found[:1].expand(4), rtol=1e-5, atol=1e-6)
