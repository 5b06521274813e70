"""Even: the least change that makes a pair even. Closes gaps, and knows when they are closed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unskew.errors import ConfigError
from unskew.protocols import Part, StreamValues


class Even:
    """Parts `gap`, `mass` (both on whole pairs) and `unrelated` (KL, reference first).

    Among the distributions q of the next token that give two words s and a the same probability,
    the one nearest to the base p in KL(p || q) has q(s) = q(a) = (p(s) + p(a)) / 2 and is p
    elsewhere: stationarity of -p(s) log x - p(a) log x - sum over the rest of p log q under
    2x + sum of q = 1 gives 2x = p(s) + p(a) and q = p. Three conditions say so, and each is a part:
    the pair's log-odds are 0 (`gap`), its joint probability is the base's (`mass`), and all other
    text is as it was (`unrelated`). As all three hold at one point, there is nothing to overshoot.

    `gap` is of the log-odds per token, over all tokens in which the variants differ and what
    follows. `mass` is of the logarithm of the base's joint probability of the two words over the
    policy's, where that is lower; a gain is left to the KL. Both are smooth absolute values:
    quadratic up to `gap_width` and `mass_width`, and of slope 1 beyond, so that a small gap is
    pulled at as strongly as a large one. A share of signs, as SS is, needs that: what the KL
    leaves of a squared gap is small and leans one way. KL toward the equalised distribution itself
    has the same optimum, and a gradient in proportion to the probability of the two words, which
    on real text is nearly none.

    A pair's words may differ in themselves, whatever the group. With `target` counterfactuals the
    log-odds are brought to the base's own, averaged over the contexts in which other groups stand
    in place of the pair's, so that only what hangs on the group goes.

    Args:
        target: `even`, or `counterfactuals`, for which `chunk.contexts` must be given; pairs whose
            context names no group of the word table are made even all the same.
        gap_width: Log-odds per token, in nats, up to which `gap` is quadratic; > 0.
        mass_width: Loss of log-probability, in nats, up to which `mass` is quadratic; > 0.

    Raises:
        ConfigError: A width is not a positive number.

    Source: ours. Squared equalisation is a limit of IPO (Azar et al. 2023, arXiv 2310.12036).
    """

    def __init__(
        self,
        target: Literal["even", "counterfactuals"] = "even",
        gap_width: float = 0.02,
        mass_width: float = 0.5,
    ) -> None:
        for name, width in (("gap_width", gap_width), ("mass_width", mass_width)):
            if not (width > 0 and math.isfinite(width)):
                raise ConfigError(f"{name} is {width}; it must be a positive number of nats")
        self.target = target
        self.gap_width = gap_width
        self.mass_width = mass_width

    @property
    def parts(self) -> Mapping[str, Part]:
        has_teacher = self.target == "counterfactuals"
        return {
            "gap": Part(
                "pairs",
                "log_odds_per_token",
                needs_reference=has_teacher,
                reference_over="contexts" if has_teacher else "own",
            ),
            "mass": Part("slots", "slot_logprob", needs_reference=True),
            "unrelated": Part("unrelated", "kl_reference_policy", average_over="tokens"),
        }

    def __call__(self, streams: Mapping[str, StreamValues]) -> Mapping[str, Tensor]:
        values: dict[str, Tensor] = {}
        if (pairs := streams.get("pairs")) is not None:
            assert pairs.logprob is not None
            gap = pairs.logprob
            if self.target == "counterfactuals":
                assert pairs.reference_logprob is not None
                gap = gap - pairs.reference_logprob
            values["gap"] = _smooth_abs(gap, self.gap_width)
        if (slots := streams.get("slots")) is not None:
            policy, reference = slots.logprob, slots.reference_logprob
            assert policy is not None and reference is not None
            values["mass"] = _smooth_abs(F.relu(reference - policy), self.mass_width)
        if (unrelated := streams.get("unrelated")) is not None:
            assert unrelated.kl_reference_policy is not None
            values["unrelated"] = unrelated.kl_reference_policy
        return values


def _smooth_abs(values: Tensor, width: float) -> Tensor:
    return F.smooth_l1_loss(values, torch.zeros_like(values), reduction="none", beta=width)
