"""Likelihood's parts by hand, and that ascent is the opposite of learning."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import make_trainer, mean_logprob_gap, pairs
from unskew.data.batches import ChunkSizes
from unskew.objectives.likelihood import Likelihood
from unskew.protocols import StreamValues


def test_by_hand():
    tokens = torch.tensor([2.0, 4.0])
    values = StreamValues(
        tokens,
        logprob=torch.tensor([-3.0, -8.0]),
        kl_reference_policy=torch.tensor([0.5, 0.25]),
    )
    found = Likelihood()({"forget": values, "retain": values, "unrelated": values})
    assert found["forget"].tolist() == [-1.5, -2.0]
    assert found["learn"].tolist() == [1.5, 2.0]
    assert found["retain"].tolist() == [1.5, 2.0]
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
