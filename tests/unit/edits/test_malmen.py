"""The editor network and its ridge against autograd and against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from unskew.edits import malmen
from unskew.edits.malmen import Editor, Ridge, RunningMoments

INPUTS, OUTPUTS = 5, 4
EXACT = 1e-9
"""Of float64, through a solve whose condition number is below 1e3."""


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def editor(*, moved: bool = True, modules: int = 2, **changes) -> Editor:
    """In float64; `moved` gives every parameter a value of its own."""
    torch.manual_seed(0)
    options = {"rank": 3, "num_blocks": 2, "step_size": 0.3, **changes}
    made = Editor(INPUTS, OUTPUTS, modules, **options).double()
    if moved:
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, dtype=torch.float64))
    return made


def plain_shift(net: Editor, u: torch.Tensor, g: torch.Tensor, module: int) -> torch.Tensor:
    """The shift as one differentiable expression."""
    changes = net.output_changes(u, g, module)
    matrix = u.T @ u + net.log_ridge[module].exp() * torch.eye(INPUTS, dtype=u.dtype)
    return torch.linalg.solve(matrix, u.T @ changes)


@pytest.mark.parametrize("places", [3, 40], ids=["fewer places than inputs", "more"])
@pytest.mark.parametrize("module", [0, 1])
def test_shift_and_gradients_are_autograds(places, module, monkeypatch):
    monkeypatch.setattr(malmen, "PLACES_AT_ONCE", 7)
    net, u, g = editor(), drawn(places, INPUTS), drawn(places, OUTPUTS, seed=1)
    net.moments.update(torch.cat((u, g), -1))
    target = drawn(INPUTS, OUTPUTS, seed=2)
    plain = plain_shift(net, u, g, module)
    (plain * target).sum().backward()
    wanted = {n: p.grad.clone() for n, p in net.named_parameters()}
    net.zero_grad()
    shift = net.shift(u, g, module)
    assert torch.allclose(shift, plain, rtol=EXACT, atol=EXACT)
    net.backward(u, g, module, shift, target)
    for name, parameter in net.named_parameters():
        assert torch.allclose(parameter.grad, wanted[name], rtol=EXACT, atol=EXACT), name
        assert wanted[name].any(), name


@pytest.mark.parametrize("places", [3, 40])
def test_the_ridge_solves_by_either_side(places):
    u, right, rho = drawn(places, INPUTS), drawn(INPUTS, OUTPUTS, seed=1), torch.tensor(-0.7)
    matrix = u.T @ u + math.exp(-0.7) * torch.eye(INPUTS, dtype=u.dtype)
    assert torch.allclose(Ridge(u, rho).solve(right), torch.linalg.solve(matrix, right), rtol=1e-6)


def test_one_place_and_one_input_by_hand():
    """u D / (u^2 + e^rho) = 3 * 2 / (9 + 4)."""
    ridge = Ridge(torch.tensor([[3.0]]), torch.tensor(math.log(4.0)))
    assert ridge.shift(torch.tensor([[2.0]])).item() == pytest.approx(6 / 13, rel=1e-6)


def test_a_heavy_ridge_leaves_the_map_alone():
    u, changes = drawn(40, INPUTS), drawn(40, OUTPUTS, seed=1)
    sizes = [Ridge(u, torch.tensor(rho)).shift(changes).norm().item() for rho in (0.0, 10.0, 30.0)]
    assert sizes[0] > 100 * sizes[1] > 0
    assert sizes[2] < 1e-10


def test_a_new_editor_takes_a_step_along_the_standardised_gradient():
    net, u, g = editor(moved=False), drawn(40, INPUTS), drawn(40, OUTPUTS, seed=1)
    net.moments.update(torch.cat((u, g), -1))

    def standardised(x):
        return (x - x.mean(0)) / x.std(0, correction=0)

    wanted = -0.3 * (u * standardised(u)).sum(-1, keepdim=True) * standardised(g)
    assert torch.allclose(net.output_changes(u, g, 0), wanted, rtol=1e-6)


def test_a_new_block_can_learn():
    """At B = 0 a rectifier whose gradient at 0 is 0 would keep it there for good."""
    net, u, g = editor(moved=False), drawn(40, INPUTS), drawn(40, OUTPUTS, seed=1)
    net.moments.update(torch.cat((u, g), -1))
    net.backward(u, g, 0, net.shift(u, g, 0), drawn(INPUTS, OUTPUTS, seed=2))
    for name, parameter in net.named_parameters():
        if name.endswith((".up", ".bias", ".shift")):
            assert parameter.grad.any(), name


def test_moments_do_not_depend_on_the_batches():
    rows = drawn(50, 3) * torch.tensor([1.0, 100.0, 0.0]) + torch.tensor([0.0, 7.0, 2.0])
    cut = RunningMoments(3)
    for part in rows.split([1, 9, 40]):
        cut.update(part)
    assert torch.allclose(cut.mean, rows.mean(0))
    found = cut.standardised(rows)
    assert torch.allclose(found[:, :2].std(0, correction=0), torch.ones(2, dtype=torch.float64))
    assert not found[:, 2].any(), "a constant column stands out of nothing"
