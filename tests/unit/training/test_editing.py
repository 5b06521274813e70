"""Passes of a batch through an edited model: losses by hand, gradients by differences."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from tests.fixtures import documents, encoder, pairs, tiny_model, tokens
from unskew.errors import DataError
from unskew.models.editable import EditableMaps, mlp_outputs
from unskew.models.logprobs import ScoringPath
from unskew.training.editing import EditPasses, aligned, edit_batch

ROWS = [(pair, i % 2 == 0) for i, pair in enumerate(pairs())]
LOSSES = ["squared_gap", "symmetric_kl", "official"]


def batch(loss="squared_gap", rows=ROWS, texts=()):
    return edit_batch(rows, texts, encoder(), loss)


def passes(loss="squared_gap", *, model=None, blocks=1, **changes):
    model = model or tiny_model()
    maps = EditableMaps(model, mlp_outputs(model, blocks))
    options = {"unrelated_weight": 0.5, "batch_pairs": 16, **changes}
    return EditPasses(ScoringPath(model), maps, loss=loss, **options)


def shifts_for(maps, size=0.05, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return {n: size * torch.randn(s, generator=rng) for n, s in maps.shapes.items()}


def logprobs(model, row):
    """Next-token log-probabilities that predict each scored token of a row, (token, vocab)."""
    found = F.log_softmax(model(torch.tensor([row.ids])).logits[0], -1)
    return found[row.first - 1 : -1]


def of_tokens(model, row):
    return logprobs(model, row).gather(1, torch.tensor(row.ids[row.first :])[:, None])[:, 0]


def test_completions_count_but_for_the_official_loss_which_counts_all_tokens():
    (stereotype, _), *_ = batch(rows=[(pairs()[0], True)]).pairs
    # <s> Every old nurse is | kind and soft
    assert (len(stereotype.ids), stereotype.first) == (8, 5)
    (whole, _), *_ = batch("official", rows=[(pairs()[0], True)]).pairs
    assert whole.first == 1
    found = batch(rows=[(pairs()[0], False)], texts=documents())
    assert found.pairs[0][0].ids == stereotype.ids[1:]
    assert found.unrelated[0].ids[:4] == stereotype.ids[1:5]
    assert [row.first for row in found.unrelated[1:]] == [1, 1]
    rows = [*found.pairs[0], *found.unrelated]
    assert found.num_tokens == sum(len(row.ids) for row in rows)


def test_variants_that_nothing_tells_apart_are_refused():
    same = dataclasses.replace(pairs()[0], anti_stereotype=pairs()[0].stereotype)
    with pytest.raises(DataError, match=same.id):
        batch(rows=[(same, True)])


@pytest.mark.parametrize("loss", LOSSES)
def test_the_losses_are_those_of_a_plain_forward_pass(loss):
    model, found = tiny_model(), passes(loss)
    given = batch(loss)
    maps = found.maps
    shifts = shifts_for(maps)
    with maps.open():
        values = found.edited(given, shifts, gradients=False)
    base_rows = given.unrelated
    with torch.no_grad():
        before = [logprobs(model, row) for row in base_rows]
        before_tokens = [of_tokens(model, row) for row in base_rows]
        weight = model.get_submodule(next(iter(shifts))).weight
        weight += next(iter(shifts.values()))
        edit = []
        for one, other in given.pairs:
            s, a = of_tokens(model, one), of_tokens(model, other)
            if loss == "squared_gap":
                edit.append((s.mean() - a.mean()) ** 2)
            elif loss == "official":
                p, q = s.exp().mean(), a.exp().mean()
                edit.append(p * (p.log() - a.mean()) + q * (q.log() - s.mean()))
            else:
                places = aligned(one, other)
                p, q = (logprobs(model, r)[[t - r.first for t in places]] for r in (one, other))
                kl = ((p.exp() - q.exp()) * (p - q)).sum(-1)
                edit.append(kl.mean() if len(kl) else torch.zeros(()))
        assert values.edit == pytest.approx(torch.stack(edit).mean().item(), rel=1e-4)
        if loss == "official":
            kept = [
                b.exp().mean() * (b.exp().mean().log() - of_tokens(model, row).mean())
                for b, row in zip(before_tokens, base_rows, strict=True)
            ]
            wanted = torch.stack(kept).mean()
        else:
            kl = [
                (b.exp() * (b - logprobs(model, row))).sum(-1)
                for b, row in zip(before, base_rows, strict=True)
            ]
            wanted = torch.cat(kl).mean()
        assert values.unrelated == pytest.approx(wanted.item(), rel=1e-4)


def test_aligned_places_stand_as_far_behind_the_parting():
    one, other = tokens(1, 5, 6, 7, 8, first=2), tokens(1, 5, 9, 7, 8, 4, first=2)
    assert list(aligned(one, other)) == [3, 4]
    assert not aligned(tokens(1, 5, 6, first=2), tokens(1, 5, 9, first=2))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_differences(loss):
    found, given = passes(loss), batch(loss, texts=documents())
    maps = found.maps
    shifts = shifts_for(maps)
    direction = shifts_for(maps, size=1.0, seed=1)
    with maps.open():
        found.edited(given, shifts, gradients=True)
        slope = sum((g * direction[n]).sum().item() for n, g in maps.gradients().items())
        totals = []
        for step in (1e-3, -1e-3):
            moved = {n: s + step * direction[n] for n, s in shifts.items()}
            values = found.edited(given, moved, gradients=False)
            totals.append(values.edit + 0.5 * values.unrelated)
    assert slope == pytest.approx((totals[0] - totals[1]) / 2e-3, rel=0.02)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_cut_into_passes_changes_nothing(loss):
    given = batch(loss, texts=documents())
    results = []
    for size in (16, 4):
        found = passes(loss, batch_pairs=size, blocks=2)
        shifts = shifts_for(found.maps)
        with found.maps.open():
            places = found.places(given.pairs)
            values = found.edited(given, shifts, gradients=True)
            results.append((places, values, found.maps.gradients()))
    (places, values, gradients), (others, other_values, other_gradients) = results
    assert values.edit == pytest.approx(other_values.edit, rel=1e-5)
    assert values.unrelated == pytest.approx(other_values.unrelated, rel=1e-5)
    for name in places:
        for one, other in zip(places[name], others[name], strict=True):
            assert torch.allclose(one, other, atol=1e-5)
        assert torch.allclose(gradients[name], other_gradients[name], atol=1e-5)


def test_no_shift_leaves_the_unrelated_texts_where_they_are_and_no_weight_leaves_them_out():
    given = batch()
    for weight in (0.5, 0.0):
        found = passes(unrelated_weight=weight)
        none = {n: torch.zeros(s) for n, s in found.maps.shapes.items()}
        with found.maps.open():
            values = found.edited(given, none, gradients=False)
            moved = found.edited(given, shifts_for(found.maps), gradients=False)
        assert values.unrelated == pytest.approx(0, abs=1e-6)
        assert (moved.unrelated > 1e-4) == bool(weight)


def test_places_are_those_that_predict_scored_tokens():
    """Two pairs: as many places as scored tokens, the first read where the context ends."""
    found, given = passes(), batch(rows=ROWS[:2])
    with found.maps.open():
        ((u, g),) = found.places(given.pairs).values()
    rows = [row for pair in given.pairs for row in pair]
    assert len(u) == len(g) == sum(row.num_scored for row in rows)
    # Both variants of a pair are read in the same state where they part.
    first_other = rows[0].num_scored
    assert torch.allclose(u[0], u[first_other], atol=1e-6)
    assert g.any(-1).all(), "no place without a gradient: none is behind the last prediction"
