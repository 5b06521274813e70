"""The selective update: its ends to the bit, and that it spares what the mask protects."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import encoder, pairs, tiny_model, with_adapter
from unskew.edits.linear import Linear
from unskew.edits.masked import MaskedMerge, MaskedNegate
from unskew.edits.negation import Negation
from unskew.errors import ConfigError
from unskew.models.deltas import AppliedDelta, combined
from unskew.models.logprobs import ScoringPath
from unskew.models.masks import save_masks
from unskew.models.shadow import AdapterShadow
from unskew.saliency.choice import Chooser
from unskew.saliency.criteria import Fisher, GradDelta
from unskew.training.attribution import Attribution, nll_losses
from unskew.types import Segment


def weights_of(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


@pytest.fixture
def deltas():
    """Dense deltas of an unbiased and of a shadow adapter."""
    unbiased = AdapterShadow(with_adapter(tiny_model(), targets="all_linear"))
    torch.manual_seed(7)
    adapted = with_adapter(tiny_model(), targets="all_linear", r=3)
    return unbiased, AdapterShadow(adapted)


def full(shadow, value=True):
    return {n: torch.full(shadow.delta(n).shape, value) for n in shadow.names}


def edited(edit, *sources):
    model = tiny_model()
    AppliedDelta(model, combined(edit.combine, sources))
    return weights_of(model)


def same(first, second):
    return all(torch.equal(first[n], second[n]) for n in second)


def test_the_ends_to_the_bit(deltas):
    """Test (a): all of the mask is theta_u, none is theta_0, gamma 0 is masked_merge."""
    unbiased, shadow = deltas
    tuned = edited(Linear(), unbiased)
    assert not same(tuned, weights_of(tiny_model()))
    assert same(edited(MaskedMerge(full(unbiased)), unbiased), tuned)
    assert same(edited(MaskedNegate(full(unbiased), gamma=0.0), unbiased, shadow), tuned)
    nothing = MaskedMerge(full(unbiased, value=False))
    assert combined(nothing.combine, [unbiased]) == {}
    still = MaskedNegate(full(unbiased), gamma=1.0)
    zeros = {n: torch.zeros(unbiased.delta(n).shape) for n in unbiased.names}
    assert same(edited(still, zeros, shadow), edited(Negation(1.0), shadow))


def test_by_hand(tmp_path):
    mask = {"w": torch.tensor([True, False, True])}
    unbiased, shadow = torch.tensor([1.0, 2.0, -4.0]), torch.tensor([2.0, 2.0, 2.0])
    assert MaskedMerge(mask, eta=0.5).combine("w", [unbiased]).tolist() == [0.5, 0.0, -2.0]
    half = MaskedNegate(mask, gamma=0.5, eta=2.0)
    assert half.combine("w", [unbiased, shadow]).tolist() == [0.0, 0.0, -10.0]
    assert not MaskedMerge(mask).combine("other", [unbiased]).any()
    save_masks(mask, tmp_path)
    assert MaskedMerge(str(tmp_path)).combine("w", [unbiased]).tolist() == [1.0, 0.0, -4.0]


def test_refusals():
    for eta in (0.0, -1.0, float("inf")):
        with pytest.raises(ConfigError, match=r"edit\.eta is .*; it must be a positive number"):
            MaskedMerge({}, eta=eta)
    with pytest.raises(ConfigError, match=r"edit\.gamma is 2\.5; it must be in \[0, 2\]"):
        MaskedNegate({}, gamma=2.5)
    with pytest.raises(ConfigError, match="takes the unbiased delta alone, not 2"):
        MaskedMerge({}).combine("w", [torch.ones(1)] * 2)
    with pytest.raises(ConfigError, match="takes two deltas, the unbiased and the shadow's, not 1"):
        MaskedNegate({}).combine("w", [torch.ones(1)])


def rows_of(side):
    kept = [p for p in pairs() if getattr(p, side)]
    return encoder().encode([Segment(getattr(p, side), p.completion_start) for p in kept])


def train(model, rows, steps, seed, rate):
    torch.manual_seed(seed)
    free = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(free, lr=rate, weight_decay=0.0)
    path = ScoringPath(model)
    for _ in range(steps):
        drawn = [rows[i] for i in torch.randperm(len(rows))[:8].tolist()]
        optimizer.zero_grad()
        for loss in nll_losses(path, drawn)(False):
            loss.backward()
        optimizer.step()
    return model.eval()


def nll(model, rows):
    with torch.no_grad():
        return sum(loss.item() for loss in nll_losses(ScoringPath(model), rows)(False))


def test_from_shadow_to_selective_update():
    """Test (j): the stereotypes fall, and the retained text suffers less than without the mask."""
    biased, kept, anti = (rows_of(s) for s in ("stereotype", "unrelated", "anti_stereotype"))
    risen: dict[str, list[float]] = {"masked": [], "whole": []}
    for seed in range(3):
        base = train(tiny_model().requires_grad_(True), biased + kept, 40, seed, 3e-3)
        base.requires_grad_(False)
        state = {n: t.clone() for n, t in base.state_dict().items()}

        def fresh(state=state):
            model = tiny_model()
            model.load_state_dict(state)
            return model

        def tuned(rows, fresh=fresh, seed=seed):
            adapted = with_adapter(fresh(), moved=False, targets="all_linear")
            return train(adapted, rows, 15, seed, 1e-2)

        shadow, unbiased = tuned(biased), AdapterShadow(tuned(anti))
        way = AdapterShadow(shadow)
        assert nll(shadow, biased) < nll(base, biased)
        scores = [
            {n: s for group in made for n, s in group.items()}
            for made in (
                Attribution(shadow, way.names, nll_losses(ScoringPath(shadow), biased),
                            GradDelta(), shadow=way),
                Attribution(base, way.names, nll_losses(ScoringPath(base), kept), Fisher()),
            )
        ]  # fmt: skip
        masks = Chooser(fraction=0.5).choose(*scores).masks
        for name, edit in (("masked", MaskedMerge(masks)), ("whole", Linear())):
            model = fresh()
            AppliedDelta(model, combined(edit.combine, [unbiased]))
            assert nll(model, biased) > nll(base, biased) + 0.1
            risen[name].append(nll(model, kept) - nll(base, kept))
    assert sum(risen["masked"]) < sum(risen["whole"])
    assert sum(risen["whole"]) > 0
