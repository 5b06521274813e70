"""BiasUnlearn's parts against hand-worked numbers and limits."""

from __future__ import annotations

import math

import pytest
import torch

from unskew.errors import ConfigError
from unskew.objectives.biasunlearn import BiasUnlearn, npo
from unskew.protocols import StreamValues


def _t(*values: float) -> torch.Tensor:
    return torch.tensor(values)


@pytest.mark.parametrize(("beta", "value"), [(0.1, 13.862944), (1.0, 1.386294), (2.0, 0.693147)])
def test_npo_is_two_ln_two_over_beta_at_the_reference(beta, value):
    assert 2 * math.log(2) / beta == pytest.approx(value, abs=1e-6)
    assert npo(_t(-3.0), _t(-3.0), beta=beta).item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("n", "weight"), [(0.0, 1.0), (10.0, 0.5379), (40.0, 0.0360)])
def test_gradient_weight_of_npo(n, weight):
    # dL/dn = -2 (1 - sigma(beta n)), n = nll_policy - nll_reference; numbers of the specification.
    logprob = _t(-n).requires_grad_()
    npo(logprob, _t(0.0), beta=0.1).sum().backward()
    exact = 2 * (1 - 1 / (1 + math.exp(-0.1 * n)))
    assert logprob.grad.item() == pytest.approx(exact, rel=1e-5)
    assert logprob.grad.item() == pytest.approx(weight, abs=5e-5)


def test_npo_tends_to_gradient_ascent():
    logprob = torch.randn(50, generator=torch.Generator().manual_seed(0)).requires_grad_()
    npo(logprob, torch.zeros(50), beta=1e-4).sum().backward()
    cosine = torch.cosine_similarity(logprob.grad, torch.ones(50), dim=0)
    assert cosine > 0.999


def _forget(reduction: str, policy, reference, num_tokens) -> torch.Tensor:
    stream = StreamValues(num_tokens, logprob=policy, reference_logprob=reference)
    return BiasUnlearn(0.1, reduction)({"forget": stream})["forget"]


def test_the_three_reductions_by_hand():
    # n = (0, 40) per token over 2 and 2 tokens; beta n = (0, 4).
    policy, reference, num_tokens = _t(-8.0, -88.0), _t(-8.0, -8.0), _t(2.0, 2.0)
    by_token = _forget("token_mean", policy, reference, num_tokens)
    assert by_token.tolist() == pytest.approx([13.8629, 20 * math.log1p(math.exp(-4))], abs=1e-4)
    assert by_token.mean().item() == pytest.approx(7.1130, abs=5e-5)
    summed = _forget("sum", policy, reference, num_tokens)
    assert summed.tolist() == pytest.approx([13.8629, 20 * math.log1p(math.exp(-8))], abs=1e-4)
    batch = _forget("batch_token_mean", policy, reference, num_tokens)
    assert batch.shape == (1,)
    assert batch.item() == pytest.approx(2.5386, abs=5e-5)


def test_batch_reduction_weighs_tokens_not_examples():
    # Differences 0 over 1 token and 12 over 3 tokens: mean 3 over tokens, 2 over examples.
    got = _forget("batch_token_mean", _t(-1.0, -13.0), _t(-1.0, -1.0), _t(1.0, 3.0))
    assert got.item() == pytest.approx(20 * math.log1p(math.exp(-0.3)), rel=1e-6)


def test_retain_is_the_mean_nll_and_unrelated_the_summed_kl():
    values = BiasUnlearn()(
        {
            "retain": StreamValues(_t(2.0, 4.0), logprob=_t(-6.0, -2.0)),
            "unrelated": StreamValues(_t(3.0, 1.0), kl_reference_policy=_t(0.25, 0.5)),
        }
    )
    assert values.keys() == {"retain", "unrelated"}
    assert values["retain"].tolist() == [3.0, 0.5]
    assert values["unrelated"].tolist() == [0.25, 0.5]


def test_what_the_parts_ask_for():
    parts = BiasUnlearn().parts
    assert parts["forget"].needs_reference and not parts["retain"].needs_reference
    assert [parts[n].average_over for n in ("forget", "retain", "unrelated")] == [
        "examples", "examples", "tokens",
    ]  # fmt: skip
    assert BiasUnlearn(0.1, "batch_token_mean").parts["forget"].average_over == "chunk"


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_beta_out_of_range(beta):
    with pytest.raises(ConfigError, match=r"beta is .*; NPO needs a positive number"):
        BiasUnlearn(beta)
