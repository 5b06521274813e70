"""Likelihood's parts by hand, and that ascent is the opposite of learning."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.fixtures import (
    encoder,
    make_trainer,
    mean_logprob_gap,
    pairs,
    tiny_model,
    with_adapter,
)
from unskew.data.batches import ChunkSizes, PairChunks
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import reference_for
from unskew.objectives.likelihood import Likelihood
from unskew.protocols import StreamValues
from unskew.training.gradients import ChunkGradients


def test_by_hand():
    tokens = torch.tensor([2.0, 4.0])
    values = StreamValues(
        tokens,
        logprob=torch.tensor([-3.0, -8.0]),
        kl_reference_policy=torch.tensor([0.5, 0.25]),
    )
    streams = dict.fromkeys(("forget", "retain", "pairs", "unrelated"), values)
    found = Likelihood()(streams)
    assert found["forget"].tolist() == [-1.5, -2.0]
    assert found["learn"].tolist() == [1.5, 2.0]
    assert found["retain"].tolist() == [1.5, 2.0]
    assert found["both"].tolist() == [3.0, 8.0]  # handed over as the average of two means
    assert found["unrelated"].tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("weights", "turns"),
    [({"learn": 1.0}, -1), ({"forget": 0.2}, 1), ({"retain": 1.0}, 1)],
)
def test_twenty_steps_move_the_preference_the_right_way(tmp_path, weights, turns):
    """The gap is nll(stereotype) - nll(anti): a shadow closes it, what unlearns opens it."""
    sizes = ChunkSizes(8, 8, 0) if "retain" in weights else ChunkSizes(8, 0, 0)
    trainer = make_trainer(
        tmp_path,
        objective=Likelihood(),
        weights=weights,
        sizes=sizes,
        settings={"max_steps": 20, "eval_steps": 20, "learning_rate": 1e-2},
        controllers=[],
    )
    before = mean_logprob_gap(trainer.source.path, pairs())
    trainer.fit()
    assert turns * (mean_logprob_gap(trainer.source.path, pairs()) - before) > 0.5


def _gradient(weights, rows) -> torch.Tensor:
    model = with_adapter(tiny_model())
    path = ScoringPath(model)
    source = ChunkGradients(path, reference_for(path), encoder(), Likelihood())
    source.load(rows)
    source.gradients(weights)
    return torch.cat([p.grad.flatten() for p in source.params])


def test_both_is_the_average_of_the_two_sides():
    whole = PairChunks(pairs(), sizes=ChunkSizes(0, 0, 0, pairs=6), seed=2).next()
    sides = [
        replace(r, id=f"{r.id}{i}", stream=stream, segment=r.segments[i], against=None)
        for r in whole
        for i, stream in enumerate(("retain", "forget"))
    ]
    apart = (_gradient({"retain": 1.0}, sides) + _gradient({"learn": 1.0}, sides)) / 2
    torch.testing.assert_close(_gradient({"both": 1.0}, whole), apart, rtol=1e-4, atol=1e-6)


def test_grad_diff_on_the_same_rows_cancels():
    rows = [r for r in PairChunks(pairs(), seed=2).next() if r.stream == "retain"]
    rows += [replace(r, id=f"{r.id}|again", stream="forget") for r in rows]
    both = _gradient({"forget": 1.0, "retain": 1.0}, rows)
    alone = _gradient({"retain": 1.0}, rows)
    assert both.abs().max() < 1e-5 * alone.abs().max()


@pytest.mark.parametrize(("weights", "share"), [({"both": 1.0}, 0.5), ({"retain": 1.0}, 1.0)])
def test_where_fine_tuning_leads(weights, share):
    """One context and two words of one token: both sides end even, anti-stereotypes alone at 1."""
    logits = torch.tensor([2.0, -1.0]).requires_grad_()
    optimizer = torch.optim.SGD([logits], lr=1.0)
    for _ in range(400):
        optimizer.zero_grad()
        logprob = logits.log_softmax(-1)
        streams = {
            "pairs": StreamValues(torch.tensor([2.0]), logprob.mean()[None]),
            "retain": StreamValues(torch.ones(1), logprob[1:]),
        }
        values = Likelihood()(streams)
        sum(weight * values[name].sum() for name, weight in weights.items()).backward()
        optimizer.step()
    assert logits.softmax(-1)[1].item() == pytest.approx(share, abs=0.01)
