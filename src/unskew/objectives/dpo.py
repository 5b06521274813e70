"""DPO: prefer the anti-stereotype over the stereotype, relative to the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from unskew.errors import ConfigError
from unskew.protocols import Part, StreamValues


class Dpo:
    """Parts `preference` (DPO on whole pairs), `retain` (cross-entropy) and `unrelated` (KL).

    `preference` is -log sigmoid(beta (d - d_ref)) with d the log-odds of the kept variant against
    the forgotten one: ln 2 where policy and reference agree, with gradient -beta/2 in d, and 0 in
    the limit of a wide margin. Nothing in it knows where even is: d grows past 0, so the choice of
    the checkpoint, or swapping, has to end it. Both log-probabilities may fall together; `retain`
    on the kept variants works against that.

    Args:
        beta: Temperature, > 0; 0.1 is usual.
        length_normalise: Compare means over tokens, so that the longer variant has no handicap.

    Raises:
        ConfigError: beta is not a positive number.

    Source: Rafailov et al. 2023, arXiv 2305.18290, eq. 7; with anti-stereotypes preferred as in
    BiasUnlearn, arXiv 2509.25673, section 4.5. Departs: none with the defaults; `length_normalise`
    is ours. The unlearning literature scales the loss by 2/beta; this is the paper's, without it.
    """

    def __init__(self, beta: float = 0.1, length_normalise: bool = False) -> None:
        if not (beta > 0 and math.isfinite(beta)):
            raise ConfigError(f"beta is {beta}; DPO needs a positive number (0.1 is usual)")
        self.beta = beta
        self.length_normalise = length_normalise

    @property
    def parts(self) -> Mapping[str, Part]:
        quantity = "log_odds_per_token" if self.length_normalise else "log_odds"
        return {
            "preference": Part("pairs", quantity, needs_reference=True),
            "retain": Part("retain", "logprob"),
            "unrelated": Part("unrelated", "kl_reference_policy", average_over="tokens"),
        }

    def __call__(self, streams: Mapping[str, StreamValues]) -> Mapping[str, Tensor]:
        values: dict[str, Tensor] = {}
        if (pairs := streams.get("pairs")) is not None:
            policy, reference = pairs.logprob, pairs.reference_logprob
            assert policy is not None and reference is not None
            values["preference"] = -F.logsigmoid(self.beta * (policy - reference))
        if (retain := streams.get("retain")) is not None:
            assert retain.logprob is not None
            values["retain"] = -retain.logprob / retain.num_tokens
        if (unrelated := streams.get("unrelated")) is not None:
            assert unrelated.kl_reference_policy is not None
            values["unrelated"] = unrelated.kl_reference_policy
        return values
