"""A mask is kept to the last bit: weight decay, momentum, half precision, resuming."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import FAMILIES, encoder, make_trainer, pairs, tiny_model
from unskew.errors import ArtifactError, ModelError, NoMatchingParameter
from unskew.models.deltas import AppliedDelta
from unskew.models.load import base_parameters, fingerprint
from unskew.models.logprobs import ScoringPath, collate
from unskew.models.masks import save_masks
from unskew.models.precision import MixedPrecision
from unskew.models.reference import reference_for
from unskew.models.sites import linear_names
from unskew.types import Segment
from unskew.updates.masked import MaskedScope, kept_delta, release

IDS = torch.tensor([[1, 5, 9, 7]])


def masks_of(model, share=0.1, seed=0):
    """A random mask of every linear map's weight."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {f"{n}.weight": model.get_parameter(f"{n}.weight").shape for n in linear_names(model)}
    return {n: torch.rand(s, generator=generator) < share for n, s in shapes.items()}


def loss_of(model):
    path = ScoringPath(model)
    rows = encoder().encode([Segment(p.stereotype, p.completion_start) for p in pairs()[:4]])
    batch = collate(rows)
    return (-path.logprobs(path.states(batch), batch.targets)).mean()


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def with_delta(delta, dtype=torch.float32, family="gpt2"):
    model = tiny_model(family).to(dtype)
    AppliedDelta(model, delta)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_before_the_first_step_it_is_the_base(family):
    plain = tiny_model(family)
    model = MaskedScope(masks_of(plain)).apply(tiny_model(family))
    assert torch.equal(logits(model), logits(plain))
    assert fingerprint(model) == fingerprint(plain)
    assert [n for n, _ in base_parameters(model)] == [n for n, _ in plain.named_parameters()]
    assert kept_delta(model) == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_what_is_masked_out_is_bitwise_what_it_was(family, dtype):
    """Test (b) of the method: AdamW with weight decay .1, whose momentum outlives the gradient."""
    model = tiny_model(family).to(dtype)
    masks = masks_of(model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model = MaskedScope(masks).apply(model)
    free = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(free, lr=3e-2, weight_decay=0.1)
    for step in range(4):
        optimizer.zero_grad()
        if step < 2:
            loss_of(model).backward()
        else:
            for p in free:
                p.grad = torch.zeros_like(p)
        optimizer.step()
    delta = kept_delta(model)
    assert delta.keys() == masks.keys()
    after = with_delta(delta, dtype, family)
    for name, old in before.items():
        new = after.get_parameter(name)
        mask = masks.get(name, torch.zeros(old.shape, dtype=torch.bool))
        assert torch.equal(new[~mask], old[~mask]), name
        if name in masks:
            assert (new[mask] != old[mask]).float().mean() > 0.9, name
    assert torch.equal(logits(after), logits(model))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_it_is_dense_training_with_the_rest_put_back_after_each_step(weight_decay):
    """SalUn's constraint done the long way: all weights move, then the others are restored."""
    masks = masks_of(tiny_model())
    dense = tiny_model()
    base = {n: p.detach().clone() for n, p in dense.named_parameters()}
    in_scope = [dense.get_parameter(n) for n in masks]
    dense.requires_grad_(False)
    for p in in_scope:
        p.requires_grad_(True)
    ours = MaskedScope(masks).apply(tiny_model())
    options = {"lr": 1e-2, "weight_decay": weight_decay}
    optimizers = [
        torch.optim.AdamW(in_scope, **options),
        torch.optim.AdamW([p for p in ours.parameters() if p.requires_grad], **options),
    ]
    for _ in range(5):
        for model, optimizer in zip((dense, ours), optimizers, strict=True):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
        with torch.no_grad():
            for name, mask in masks.items():
                dense.get_parameter(name)[~mask] = base[name][~mask]
    delta = kept_delta(ours)
    for name in masks:
        # The same operations on the same numbers; backward products may be summed in another order.
        wanted = dense.get_parameter(name) - base[name]
        torch.testing.assert_close(delta[name].dense(), wanted, atol=1e-5, rtol=0)
        assert wanted.abs().max() > 1e-2


def test_moments_are_held_for_the_marked_weights_alone():
    model = MaskedScope(masks_of(tiny_model())).apply(tiny_model())
    counts = [p.numel() for p in model.parameters() if p.requires_grad]
    assert counts == [int(m.sum()) for m in masks_of(tiny_model()).values()]


def test_the_delta_on_the_base_is_the_model_however_far_a_weight_moved():
    """From 1e-8 to 1 and back the difference is rounded; the model follows the delta."""
    model = tiny_model()
    masks = masks_of(model, share=0.5)
    model = MaskedScope(masks).apply(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_kept"):
                parameter.mul_(torch.randn_like(parameter).exp() * 3).add_(1e-3)
    delta = kept_delta(model)
    assert torch.equal(logits(with_delta(delta)), logits(model))
    assert all(torch.equal(kept_delta(model)[n].values, d.values) for n, d in delta.items())


def test_the_reference_is_the_base_and_costs_no_copy():
    model = MaskedScope(masks_of(tiny_model())).apply(tiny_model())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_kept"):
                parameter.add_(0.1)
    plain = logits(tiny_model())
    reference = reference_for(ScoringPath(model))
    assert reference.path.model is model
    with reference.frozen():
        assert torch.equal(model(input_ids=IDS).logits, plain)
    assert not torch.equal(logits(model), plain)


def test_released_it_is_the_base_again():
    model = MaskedScope(masks_of(tiny_model())).apply(tiny_model())
    with torch.no_grad():
        model.transformer.h[0].attn.c_attn.weight_kept.add_(1.0)
    release(model)
    plain = tiny_model()
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(logits(model), logits(plain))
    assert not hasattr(model, "disable_adapter")


def test_a_forward_pass_that_fails_hides_no_weight():
    model = MaskedScope(masks_of(tiny_model())).apply(tiny_model())
    layer = model.transformer.h[0].attn.c_attn
    with pytest.raises(RuntimeError):
        layer(torch.zeros(2, 5))
    assert layer.weight is layer._parameters["weight"]


def test_mixed_precision_trains_the_marked_weights():
    model = MaskedScope(masks_of(tiny_model())).apply(tiny_model())
    exact = loss_of(model).item()
    with MixedPrecision(model)():
        loss = loss_of(model)
        loss.backward()
    # bfloat16 keeps 8 bits: a few parts in a hundred after two layers.
    assert loss.item() == pytest.approx(exact, rel=0.05) and loss.item() != exact
    assert all(p.grad.abs().sum() > 0 for p in model.parameters() if p.requires_grad)


class _Killed(BaseException):
    pass


def _masked_trainer(folder):
    model = MaskedScope(masks_of(tiny_model())).apply(tiny_model())
    return make_trainer(folder, model=model, settings={"weight_decay": 0.1})


def test_after_resume_the_mask_is_kept_and_the_numbers_are_the_same(tmp_path, monkeypatch):
    straight = _masked_trainer(tmp_path / "straight")
    straight.fit()
    killed = _masked_trainer(tmp_path / "cut")
    step = killed.training_step

    def die_at_five(*args, **kwargs):
        if killed.state.global_step == 5:
            raise _Killed
        return step(*args, **kwargs)

    monkeypatch.setattr(killed, "training_step", die_at_five)
    with pytest.raises(_Killed):
        killed.fit()
    resumed = _masked_trainer(tmp_path / "cut")
    resumed.fit(resume=True)
    found, wanted = kept_delta(resumed.policy), kept_delta(straight.policy)
    assert all(torch.equal(found[n].values, d.values) for n, d in wanted.items())
    plain, after = tiny_model(), with_delta(found)
    masks = masks_of(plain)
    for name, old in plain.named_parameters():
        mask = masks.get(name, torch.zeros(old.shape, dtype=torch.bool))
        assert torch.equal(after.get_parameter(name)[~mask], old[~mask]), name
    assert sum(len(d.index) for d in found.values()) > 1000


def test_a_mask_from_a_file(tmp_path):
    save_masks(masks_of(tiny_model()), tmp_path)
    model = MaskedScope(str(tmp_path)).apply(tiny_model())
    counts = [p.numel() for p in model.parameters() if p.requires_grad]
    assert counts == [int(m.sum()) for m in masks_of(tiny_model()).values()]
    with pytest.raises(ArtifactError, match="no mask can be read from"):
        MaskedScope(str(tmp_path / "none"))


NAME = "transformer.h.0.attn.c_attn.weight"


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ({NAME: torch.zeros(32, 96) > 1}, NoMatchingParameter, "the mask marks no weight"),
        ({NAME: torch.ones(96, 32) > 0}, NoMatchingParameter, r"of shape \[96, 32\], which this"),
        ({NAME[:-7] + "wight": torch.ones(2) > 0}, NoMatchingParameter, f"did you mean '{NAME}'"),
        (
            {"transformer.wte.weight": torch.ones(tiny_model().lm_head.weight.shape) > 0},
            ModelError,
            "a weight that this model uses twice",
        ),
    ],
)
def test_masks_that_do_not_fit(masks, error, message):
    with pytest.raises(error, match=message):
        MaskedScope(masks).apply(tiny_model())


def test_a_quantised_model_is_refused():
    model = tiny_model()
    model.transformer.h[0].attn.c_attn.weight = torch.nn.Parameter(
        torch.zeros(32, 96, dtype=torch.int8), requires_grad=False
    )
    with pytest.raises(ModelError, match=r"torch.int8; a mask needs a model that is not quantised"):
        MaskedScope({NAME: torch.ones(32, 96) > 0}).apply(model)
