"""SimNPO: negative preference optimisation without a reference, by mean log-probability."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from unskew.errors import ConfigError
from unskew.protocols import Part, StreamValues


class SimNpo:
    """Parts `forget` (SimNPO), `retain` (cross-entropy) and `unrelated` (KL, reference first).

    `forget` is -(2/beta) log sigmoid(beta * nll - margin), nll per token: it falls to 0 as the
    forgotten becomes improbable, whatever it was before. As beta goes to 0, without a margin, its
    gradient tends to that of gradient ascent on means over tokens.

    Args:
        beta: Temperature, > 0. The paper uses 2.5 for TOFU.
        margin: The paper's gamma, in nats times beta: how improbable is improbable enough.

    Raises:
        ConfigError: beta is not a positive number, or the margin is not finite.

    Source: Fan et al. 2024, arXiv 2410.07163, the SimNPO loss. Departs: public code counts a
    row's tokens before the shift, one too many where the first is scored, and some applies the
    loss to logits, or to the mean of a whole batch; here it is taken of each example. Public code
    writes beta (nll - delta): delta is margin/beta.
    """

    def __init__(self, beta: float = 2.5, margin: float = 0.0) -> None:
        if not (beta > 0 and math.isfinite(beta)):
            raise ConfigError(f"beta is {beta}; SimNPO needs a positive number (2.5 is usual)")
        if not math.isfinite(margin):
            raise ConfigError(f"margin is {margin}; SimNPO needs a finite number (0 is usual)")
        self.beta = beta
        self.margin = margin

    @property
    def parts(self) -> Mapping[str, Part]:
        return {
            "forget": Part("forget", "logprob"),
            "retain": Part("retain", "logprob"),
            "unrelated": Part("unrelated", "kl_reference_policy", average_over="tokens"),
        }

    def __call__(self, streams: Mapping[str, StreamValues]) -> Mapping[str, Tensor]:
        values: dict[str, Tensor] = {}
        if (forget := streams.get("forget")) is not None:
            assert forget.logprob is not None
            nll = -forget.logprob / forget.num_tokens
            values["forget"] = (-2 / self.beta) * F.logsigmoid(self.beta * nll - self.margin)
        if (retain := streams.get("retain")) is not None:
            assert retain.logprob is not None
            values["retain"] = -retain.logprob / retain.num_tokens
        if (unrelated := streams.get("unrelated")) is not None:
            assert unrelated.kl_reference_policy is not None
            values["unrelated"] = unrelated.kl_reference_policy
        return values
