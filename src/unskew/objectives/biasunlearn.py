"""BiasUnlearn: forget stereotypes by NPO, retain anti-stereotypes by CE, pin the rest by KL."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unskew.errors import ConfigError
from unskew.protocols import Part, StreamValues

NpoReduction = Literal["token_mean", "sum", "batch_token_mean"]


def npo(
    policy_logprob: Float[Tensor, " example"],
    reference_logprob: Float[Tensor, " example"],
    *,
    beta: float,
) -> Float[Tensor, " example"]:
    """Negative preference optimisation: push the forget answers below the reference.

    Equals `2 ln 2 / beta` where both agree, and falls to 0 as the policy forgets; its gradient
    tends to that of gradient ascent as beta goes to 0.

    Args:
        policy_logprob: Of the answer, in nats; summed or averaged over tokens.
        reference_logprob: The same under the reference.
        beta: Temperature, > 0; 0.1 is usual.

    Source: Zhang et al. 2024, arXiv 2404.05868, the NPO loss. Departs: none.
    """
    return (-2 / beta) * F.logsigmoid(-beta * (policy_logprob - reference_logprob))


class BiasUnlearn:
    """Parts `forget` (NPO), `retain` (cross-entropy) and `unrelated` (KL, reference first).

    Args:
        beta: Temperature of NPO, > 0.
        npo_reduction: `token_mean` compares per-token means of each example; `sum` compares
            sequence log-probabilities, the literal equation, whose gradient grows with length;
            `batch_token_mean` takes one log-sigmoid of the chunk's averaged difference, as the
            official code does, and so needs the whole forget batch in one forward pass.

    Raises:
        ConfigError: beta is not a positive number.

    Source: BiasUnlearn, EMNLP 2025, arXiv 2509.25673, eq. 1-4. Departs: eq. 1 sums over tokens and
    the official code averages over the batch; the default averages over each example's tokens.
    Eq. 3 prints the KL with the policy first; its prose and code put the reference first, as here.
    """

    def __init__(self, beta: float = 0.1, npo_reduction: NpoReduction = "token_mean") -> None:
        if not (beta > 0 and math.isfinite(beta)):
            raise ConfigError(f"beta is {beta}; NPO needs a positive number (0.1 is usual)")
        self.beta = beta
        self.npo_reduction = npo_reduction

    @property
    def parts(self) -> Mapping[str, Part]:
        coupled = self.npo_reduction == "batch_token_mean"
        return {
            "forget": Part(
                "forget",
                "logprob",
                needs_reference=True,
                average_over="chunk" if coupled else "examples",
            ),
            "retain": Part("retain", "logprob"),
            "unrelated": Part("unrelated", "kl_reference_policy", average_over="tokens"),
        }

    def __call__(self, streams: Mapping[str, StreamValues]) -> Mapping[str, Tensor]:
        values: dict[str, Tensor] = {}
        if (forget := streams.get("forget")) is not None:
            values["forget"] = self._forget(forget)
        if (retain := streams.get("retain")) is not None:
            assert retain.logprob is not None
            values["retain"] = -retain.logprob / retain.num_tokens
        if (unrelated := streams.get("unrelated")) is not None:
            kl = unrelated.kl_reference_policy
            assert kl is not None
            values["unrelated"] = kl
        return values

    def _forget(self, stream: StreamValues) -> Float[Tensor, " example"]:
        policy, reference = stream.logprob, stream.reference_logprob
        assert policy is not None and reference is not None
        if self.npo_reduction == "token_mean":
            policy, reference = policy / stream.num_tokens, reference / stream.num_tokens
        elif self.npo_reduction == "batch_token_mean":
            tokens = stream.num_tokens.sum()
            policy, reference = (policy.sum() / tokens)[None], (reference.sum() / tokens)[None]
        return npo(policy, reference, beta=self.beta)
