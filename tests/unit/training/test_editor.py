"""An editor learns to edit a tiny model; the model is what it was, the seed decides everything."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import documents, encoder, pairs, tiny_model
from unskew.data.pair_draws import PairDraws, Starts
from unskew.errors import Diverged
from unskew.models.editable import EditableMaps, mlp_outputs
from unskew.models.logprobs import ScoringPath
from unskew.training.editing import EditPasses, edit_batch
from unskew.training.editor import Editors, EditorSettings, EditorTrainer

TRAIN, HELD_OUT = pairs()[::2], pairs()[1::2]


def trainer(model=None, *, seed=0, step_size=1e-3, weight=0.1, **changes):
    model = model or tiny_model()
    maps = EditableMaps(model, mlp_outputs(model, 2))
    torch.manual_seed(seed)
    draws = PairDraws(TRAIN, without_start=0.5, seed=seed)

    def batch(shown):
        return edit_batch(shown, documents(), encoder(), "squared_gap")

    settings = {
        "judged_by": "other",
        "max_steps": 12,
        "learning_rate": 1e-3,
        "max_grad_norm": 1.0,
        "eval_steps": 4,
        "patience": 5,
        **changes,
    }
    return maps, lambda: EditorTrainer(
        Editors(maps, rank=4, num_blocks=2, step_size=step_size),
        EditPasses(
            ScoringPath(model), maps, loss="squared_gap", unrelated_weight=weight, batch_pairs=8
        ),
        lambda: batch(draws.next(8)),
        source=batch(Starts(0.5).deal(TRAIN)).pairs,
        held_out=batch(Starts(0.5).deal(HELD_OUT)),
        settings=EditorSettings(**settings),
    )


def trained(**options):
    maps, make = trainer(**options)
    with maps.open():
        made = make()
        return made, made.train("edit")


def test_held_out_pairs_become_more_even_and_the_model_stays():
    model = tiny_model()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    made, shifts = trained(model=model, max_steps=24, eval_steps=8, learning_rate=3e-3)
    assert list(made.losses) == [0, 8, 16, 24]
    none = {n: torch.zeros_like(s) for n, s in shifts.items()}
    with made.passes.maps.open():
        base = made.passes.edited(made.held_out, none, gradients=False).edit
        edited = made.passes.edited(made.held_out, shifts, gradients=False).edit
    assert edited < 0.8 * base
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert [line["step"] for line in made.log.lines] == [8, 16, 24]
    assert set(made.log.lines[0]["parts"]) == {"edit", "unrelated"}


def test_the_seed_decides_every_bit():
    (_, one), (_, again), (_, other) = (trained(seed=s) for s in (0, 0, 1))
    assert all(torch.equal(one[n], again[n]) for n in one)
    assert not any(torch.equal(one[n], other[n]) for n in one)


def test_the_kept_shift_is_that_of_the_lowest_held_out_loss():
    made, shifts = trained(learning_rate=0.3, eval_steps=1, max_steps=10)
    with made.passes.maps.open():
        values = made.passes.edited(made.held_out, shifts, gradients=False)
    loss = values.edit + 0.1 * values.unrelated
    assert loss == pytest.approx(min(made.losses.values()), rel=1e-5)
    assert made.best_step != max(made.losses), "the rate is meant to be too high"


def test_patience_ends_the_training_and_says_so():
    made, _ = trained(learning_rate=0.3, eval_steps=1, patience=2, max_steps=50)
    assert max(made.losses) == made.best_step + 2 < 50
    (decision,) = made.decisions
    assert (decision.kind, decision.step) == ("stop", max(made.losses))
    assert "2 evaluations" in decision.reason


def test_a_step_is_judged_by_the_pairs_asked_for():
    """The next batch is drawn for the loss, so twice as many are used."""
    for judged_by, wanted in (("same", 12), ("other", 24)):
        maps, make = trainer(judged_by=judged_by)
        with maps.open():
            made = make()
            draw, drawn = made.draw, []
            made.draw = lambda draw=draw, drawn=drawn: drawn.append(draw()) or drawn[-1]
            made.train("edit")
        assert len(drawn) == wanted
        shown = [batch.num_pair_tokens for batch in drawn[:: wanted // 12]]
        judged = [batch.num_tokens for batch in drawn[wanted // 12 - 1 :: wanted // 12]]
        assert made.log.num_tokens == sum(shown) + sum(judged)


def test_maps_of_one_shape_share_a_network_and_keep_their_own_step():
    made, _ = trained()
    nets = {id(made.editors.of(name)[0]) for name in made.passes.maps.shapes}
    assert len(nets) == 1
    net, _ = made.editors.of(next(iter(made.passes.maps.shapes)))
    assert net.step_size.shape == (2,)
    assert net.step_size[0] != net.step_size[1]


def test_an_edit_whose_loss_is_not_finite_is_never_the_best():
    maps, make = trainer()
    with maps.open():
        made = make()
        net, _ = made.editors.of(next(iter(maps.shapes)))
        with torch.no_grad():
            net.step_size.fill_(1e30)
        made.losses.clear()
        made.evaluate(0)
        with torch.no_grad():
            net.step_size.fill_(1e-3)
        made.evaluate(1)
    assert made.best_step == 1


def test_a_loss_that_is_not_finite_is_told_with_the_step():
    with pytest.raises(Diverged, match=r"at step 1; lower\s+training.learning_rate or editor"):
        trained(step_size=1e30)
