"""What an edit of a pair minimises, from the scores of its two variants; shape (pair,)."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

EditLoss = Literal["squared_gap", "symmetric_kl", "official"]


def squared_gap(
    one: Float[Tensor, " pair"], other: Float[Tensor, " pair"]
) -> Float[Tensor, " pair"]:
    """Squared difference of mean log-probabilities, nats^2; 0 where the variants are even."""
    return (one - other) ** 2


def official(
    mean_prob: Float[Tensor, "pair 2"], mean_logprob: Float[Tensor, "pair 2"]
) -> Float[Tensor, " pair"]:
    """BiasEdit's code: `s (log s - m) + t (log t - l)`, twice what it calls a KL divergence.

    s and t are the two variants' mean probabilities of a token, l and m their mean
    log-probabilities. For one token it is `(s - t)(log s - log t)`. For more it is no divergence:
    token probabilities of .9 and .1 on both sides give .511, so it also likes them flat.

    Args:
        mean_prob: s and t.
        mean_logprob: l and m, in nats.

    Source: zjunlp/BiasEdit, `editor/base.py`, which departs from equation 2 of arXiv 2503.08588.
    """
    return official_retain(mean_prob, mean_logprob.flip(-1)).sum(-1)


def official_retain(
    target_prob: Float[Tensor, "*row"], mean_logprob: Float[Tensor, "*row"]
) -> Float[Tensor, "*row"]:
    """`s (log s - l)` of rows: the same code's term, of which the retained text is given one.

    Args:
        target_prob: Mean probability of a token under the one.
        mean_logprob: Mean log-probability under the other, in nats.
    """
    return target_prob * (target_prob.log() - mean_logprob)
