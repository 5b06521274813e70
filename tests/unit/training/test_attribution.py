"""Gradients for saliency: closed forms, completeness, groups, flags, and the refusals."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.fixtures import encoder, make_trainer, pairs, tiny_model, with_adapter
from unskew.errors import ArtifactError, ConfigError
from unskew.models.logprobs import ScoringPath
from unskew.models.shadow import AdapterShadow
from unskew.models.sites import linear_names
from unskew.saliency.criteria import Delta, Fisher, Grad, GradDelta, GradWeight
from unskew.training.attribution import Attribution, Completeness, gauss_legendre, nll_losses
from unskew.types import Segment


def scores(attribution):
    return {name: values for group in attribution for name, values in group.items()}


def rows(count=8):
    segments = [Segment(p.stereotype, p.completion_start) for p in pairs()[:count]]
    return encoder().encode(segments)


def names_of(model):
    return [f"{n}.weight" for n in linear_names(model)]


class Line(nn.Module):
    """y = theta x from theta = 1, with half the squared error to a target of 2 as its loss."""

    def __init__(self, variances):
        super().__init__()
        self.theta = nn.Parameter(torch.ones(len(variances)))
        self.variances = variances

    def losses(self, by_row):
        """One row for each input that varies, sized so that E[x x^T] is the diagonal exactly."""
        n = len(self.variances)
        for i, variance in enumerate(self.variances):
            x = torch.zeros(n)
            x[i] = (variance * n) ** 0.5
            yield 0.5 * ((self.theta - 2) @ x) ** 2 / (1 if by_row else n)


class Way:
    """From theta = 1 to theta = 1 + delta."""

    names = ("theta",)

    def __init__(self, line, delta):
        self.line, self.move = line, delta

    def delta(self, name):
        return self.move

    @contextmanager
    def at(self, t):
        self.line.theta.data.add_(t * self.move)
        yield
        self.line.theta.data.fill_(1.0)


@pytest.mark.parametrize(
    ("variances", "wanted"),
    [
        ((1, 1, 0, 0, 0.04, 0), (1, 1, 0, 0, 0.04, 0)),
        ((0, 1, 1, 1, 0, 0), (0, 1, 1, 1, 0, 0)),
    ],
)
def test_the_closed_form_of_a_linear_model(variances, wanted):
    """Test (d): the population gradient is -variance, whose sizes give bias and reasoning."""
    line = Line(variances)
    found = scores(Attribution(line, ["theta"], line.losses, Grad()))
    wanted = torch.tensor(wanted, dtype=torch.float32)
    torch.testing.assert_close(found["theta"], wanted, atol=1e-6, rtol=1e-6)
    signed = scores(Attribution(line, ["theta"], line.losses, Grad(signed=True)))
    torch.testing.assert_close(signed["theta"], -wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("points", [1, 2, 5])
def test_a_quadratic_loss_is_complete_with_any_number_of_nodes(points):
    """Test (e): loss .5 sum v (theta - 2)^2, moved by d: each weight accounts for v(d - d^2/2)."""
    line = Line((1.0, 0.5, 0.25))
    move = torch.tensor([0.5, -0.2, 1.0])
    attribution = Attribution(
        line, ["theta"], line.losses, GradDelta(path_points=points), shadow=Way(line, move)
    )
    found = scores(attribution)["theta"]
    fall = torch.tensor(line.variances) * (move - move**2 / 2)
    torch.testing.assert_close(found, fall.clamp(min=0), atol=1e-6, rtol=1e-6)
    assert fall[1] < 0 == found[1]
    assert attribution.completeness.ratio == pytest.approx(1, abs=1e-6)
    assert attribution.completeness.difference == pytest.approx(-fall.sum().item(), abs=1e-6)
    either = GradDelta(path_points=points, signed=False)
    found = scores(Attribution(line, ["theta"], line.losses, either, shadow=Way(line, move)))
    torch.testing.assert_close(found["theta"], fall.abs(), atol=1e-6, rtol=1e-6)


class Softmax(nn.Module):
    """Softmax regression on five rows of three classes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 4))
        self.x, self.y = torch.randn(5, 4), torch.tensor([0, 2, 1, 1, 0])

    def losses(self, by_row):
        nll = nn.functional.cross_entropy(self.x @ self.weight.T, self.y, reduction="none")
        yield from nll if by_row else (nll.mean(),)

    def row_gradients(self):
        """(p - y) x^T of each row, by numpy."""
        logits = self.x.numpy() @ self.weight.detach().numpy().T
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        p[np.arange(5), self.y.numpy()] -= 1
        return p[:, :, None] * self.x.numpy()[:, None]


def test_gradients_of_softmax_regression():
    """Tests (e) and (f): |mean|, and the root of the mean of squares, which is something else."""
    model = Softmax()
    by_row = model.row_gradients()
    for criterion, wanted in (
        (Grad(), np.abs(by_row.mean(0))),
        (GradWeight(), np.abs(by_row.mean(0) * model.weight.detach().numpy())),
        (Fisher(), np.sqrt((by_row**2).mean(0))),
    ):
        model_scores = scores(Attribution(model, ["weight"], _again(model), criterion))["weight"]
        np.testing.assert_allclose(model_scores.numpy(), wanted, atol=1e-6)
    assert not np.allclose(np.sqrt((by_row**2).mean(0)), np.abs(by_row.mean(0)))


def _again(model):
    """Rows one by one need a graph each."""

    def losses(by_row):
        if not by_row:
            yield from model.losses(False)
            return
        for i in range(5):
            yield list(model.losses(True))[i]

    return losses


def test_gauss_legendre_is_exact_to_its_degree():
    for points in (1, 2, 3, 5):
        nodes, weights = gauss_legendre(points)
        for degree in range(2 * points):
            assert weights @ nodes**degree == pytest.approx(1 / (degree + 1))
        assert weights @ nodes ** (2 * points) != pytest.approx(1 / (2 * points + 1), abs=1e-9)


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory):
    """A tiny model with an adapter taught the stereotypes; the gap is some nats wide."""
    model = with_adapter(tiny_model(), moved=False, targets="all_linear")
    settings = {"max_steps": 30, "eval_steps": 30, "learning_rate": 3e-3}
    trainer = make_trainer(
        tmp_path_factory.mktemp("shadow"),
        model=model,
        settings=settings,
        controllers=[],
        weights={"retain": 1.0},
    )
    trainer.chunks.set_directions({"gender": -1, "race": -1})
    trainer.fit()
    return model.eval()


def attribution_on(model, criterion, *, count=8, **options):
    path = ScoringPath(model)
    losses = nll_losses(path, rows(count), max_tokens=options.pop("max_tokens", 8192))
    base = tiny_model()
    shadow = AdapterShadow(model)
    return Attribution(model, names_of(base), losses, criterion, shadow=shadow, **options)


@pytest.mark.parametrize(("points", "error"), [(3, 0.03), (5, 0.005)])
def test_a_shadow_is_accounted_for(shadowed, points, error):
    """Test (e), on the model of the tests."""
    attribution = attribution_on(shadowed, GradDelta(path_points=points))
    found = scores(attribution)
    assert attribution.completeness.difference < -0.5
    assert attribution.completeness.ratio == pytest.approx(1, abs=error)
    assert attribution.completeness.warning is None
    assert set(found) == set(names_of(tiny_model()))


def test_the_shadow_is_the_adapter(shadowed):
    shadow = AdapterShadow(shadowed)
    ids = torch.tensor([[1, 5, 9, 7]])
    with torch.no_grad():
        with shadow.at(0.0):
            assert torch.equal(shadowed(input_ids=ids).logits, tiny_model()(input_ids=ids).logits)
        whole = shadowed(input_ids=ids).logits
        half = tiny_model()
        for name in shadow.names:
            half.get_parameter(name).add_(0.5 * shadow.delta(name))
        with shadow.at(0.5):
            halfway = shadowed(input_ids=ids).logits
        # W x + .5 B A x against (W + .5 B A) x: float32 rounding of logits of order 10.
        torch.testing.assert_close(halfway, half(input_ids=ids).logits, atol=1e-4, rtol=0)
        assert torch.equal(shadowed(input_ids=ids).logits, whole)
    found = scores(attribution_on(shadowed, Delta()))
    assert all(torch.equal(found[n], shadow.delta(n).abs()) for n in shadow.names)


@pytest.mark.parametrize("criterion", [GradDelta(), Fisher(), Grad()])
def test_groups_and_micro_batches_change_nothing(shadowed, criterion):
    whole = scores(attribution_on(shadowed, criterion))
    for options in ({"saliency_groups": 2}, {"saliency_groups": 9}, {"max_tokens": 12}):
        other = scores(attribution_on(shadowed, criterion, **options))
        assert list(other) == list(whole)
        for name, values in whole.items():
            # Sums of 8 rows in another order; entries near 0 lose relative precision.
            torch.testing.assert_close(other[name], values, atol=1e-6, rtol=1e-4)


def test_a_group_is_all_that_is_held(shadowed):
    seen = [sorted(group) for group in attribution_on(shadowed, Grad(), saliency_groups=2)]
    assert seen == [
        sorted(n for n in names_of(tiny_model()) if f".h.{layer}." in n) for layer in (0, 1)
    ]
    assert all(p.grad is None for p in shadowed.parameters())


def test_flags_and_mode_are_left_as_they_were(shadowed):
    shadowed.train()
    before = [p.requires_grad for p in shadowed.parameters()]
    assert any(before)
    scores(attribution_on(shadowed, GradDelta(path_points=1)))
    assert shadowed.training
    assert [p.requires_grad for p in shadowed.parameters()] == before
    shadowed.eval()


def test_half_precision_is_summed_in_float32():
    """A thousand gradients of 1 after one of 1024: bfloat16 would stay at 1024."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))

        def losses(self, by_row):
            for size in [1024.0] + [1.0] * 1000:
                yield (self.w * size).sum()

    model = Sum()
    assert scores(Attribution(model, ["w"], model.losses, Grad()))["w"].item() == 2024.0


def test_completeness_far_from_one_is_told():
    assert Completeness(-1.0, -1.0).warning is None
    assert "accounts for 0.700 of the shadow's change" in Completeness(-0.7, -1.0).warning
    assert "raise path_points" in Completeness(0.0, 0.0).warning


def test_refusals(shadowed):
    line = Line((1.0,))
    cases = [
        (lambda: GradDelta(path_points=0), "path_points is 0; the path needs at least 1 node"),
        (lambda: Attribution(line, ["theta"], line.losses, Delta()), "Delta needs a shadow model"),
        (lambda: Attribution(line, ["thta"], line.losses, Grad()), "did you mean 'theta'"),
        (
            lambda: Attribution(line, ["theta"], line.losses, Grad(), saliency_groups=0),
            "saliency_groups is 0; it must be at least 1",
        ),
        (
            lambda: Attribution(
                shadowed, ["transformer.wte.weight"], line.losses, Delta(),
                shadow=AdapterShadow(shadowed),
            ),
            "the shadow moves none of the weights",
        ),
    ]  # fmt: skip
    for call, message in cases:
        with pytest.raises(ConfigError, match=message):
            call()
    line.theta = nn.Parameter(torch.ones(1, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ConfigError, match=r"theta is torch\.int8; saliency needs dense weights"):
        Attribution(line, ["theta"], line.losses, Grad())


def test_fisher_takes_rows_one_by_one():
    """Against a loop over rows of the model's own loss."""
    model = tiny_model()
    name = "transformer.h.1.mlp.c_fc.weight"
    squares = torch.zeros(model.get_parameter(name).shape)
    for row in rows(6):
        labels = torch.tensor([[-100] * row.first + list(row.ids[row.first :])])
        model.zero_grad()
        model(input_ids=torch.tensor([row.ids]), labels=labels).loss.backward()
        squares += model.get_parameter(name).grad ** 2 / 6
    model.zero_grad()
    losses = nll_losses(ScoringPath(model), rows(6))
    found = scores(Attribution(model, [name], losses, Fisher()))[name]
    torch.testing.assert_close(found, squares.sqrt(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("criterion", [Grad, GradWeight])
def test_the_size_before_the_sum_is_another_criterion(criterion):
    """Against a loop over rows; rows that pull both ways cancel in the other."""
    model = tiny_model()
    name = "transformer.h.1.mlp.c_fc.weight"
    weight = model.get_parameter(name)
    sizes, total = torch.zeros(weight.shape), torch.zeros(weight.shape)
    for row in rows(6):
        labels = torch.tensor([[-100] * row.first + list(row.ids[row.first :])])
        model.zero_grad()
        model(input_ids=torch.tensor([row.ids]), labels=labels).loss.backward()
        sizes += weight.grad.abs() / 6
        total += weight.grad / 6
    model.zero_grad()
    factor = weight.detach().abs() if criterion is GradWeight else 1.0
    losses = nll_losses(ScoringPath(model), rows(6))
    for before, wanted in ((True, sizes * factor), (False, total.abs() * factor)):
        made = criterion(abs_before_sum=before)
        found = scores(Attribution(model, [name], losses, made))[name]
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)
    assert (sizes > total.abs() + 1e-4).any()


def test_a_size_has_no_sign():
    with pytest.raises(ConfigError, match="abs_before_sum leaves no sign"):
        Grad(signed=True, abs_before_sum=True)


@pytest.mark.parametrize(
    "options", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"bias": "lora_only"}]
)
def test_an_adapter_whose_change_is_more_than_its_factors_is_no_shadow(options):
    config = LoraConfig(r=2, target_modules=["q_proj"], **options)
    with pytest.raises(ArtifactError, match="the adapter is no plain LoRA adapter"):
        AdapterShadow(get_peft_model(tiny_model("llama"), config))
