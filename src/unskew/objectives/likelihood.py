"""Learning and unlearning by likelihood alone: fine-tuning, gradient ascent, and a KL anchor."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from unskew.protocols import Part, StreamValues


class Likelihood:
    """Parts `forget`, `learn`, `retain`, `both`, `texts` and `unrelated`; weights choose.

    `forget` is the mean log-probability of the forget rows, in nats per token: minimised, it is
    gradient ascent on their loss, and nothing bounds it. `learn` is its negative, cross-entropy on
    the same rows: alone, the teaching of a biased shadow. `retain` is cross-entropy on the retain
    rows: alone, fine-tuning on anti-stereotypes; beside `forget`, GradDiff. `both` is cross-entropy
    on the two variants of whole pairs: fine-tuning on both sides alike, exactly one to one in every
    step. `texts` is cross-entropy over all tokens of texts that name a group and of their
    counterfactuals: CDA. `unrelated` is the KL to the reference, reference first.

    Source: gradient ascent as in Jang et al. 2023, arXiv 2210.01504, eq. 1, and with a retain or KL
    term as in TOFU (Maini et al. 2024, arXiv 2401.06121), section 4; fine-tuning on one or both
    sides as in BiasUnlearn, arXiv 2509.25673, section 4.5; CDA as in Zmigrod et al. 2019, arXiv
    1906.04571. Departs: the mean over each example's
    tokens, so that long rows weigh as much as short ones.
    """

    @property
    def parts(self) -> Mapping[str, Part]:
        return {
            "forget": Part("forget", "logprob"),
            "learn": Part("forget", "logprob"),
            "retain": Part("retain", "logprob"),
            "texts": Part("texts", "logprob", average_over="tokens"),
            "both": Part("pairs", "logprob_per_token"),
            "unrelated": Part("unrelated", "kl_reference_policy", average_over="tokens"),
        }

    def __call__(self, streams: Mapping[str, StreamValues]) -> Mapping[str, Tensor]:
        values: dict[str, Tensor] = {}
        if (forget := streams.get("forget")) is not None:
            values["forget"] = _mean_logprob(forget)
            values["learn"] = -_mean_logprob(forget)
        if (retain := streams.get("retain")) is not None:
            values["retain"] = -_mean_logprob(retain)
        if (pairs := streams.get("pairs")) is not None:
            assert pairs.logprob is not None
            values["both"] = -pairs.logprob
        if (texts := streams.get("texts")) is not None:
            assert texts.logprob is not None
            values["texts"] = -texts.logprob
        if (unrelated := streams.get("unrelated")) is not None:
            assert unrelated.kl_reference_policy is not None
            values["unrelated"] = unrelated.kl_reference_policy
        return values


def _mean_logprob(stream: StreamValues) -> Float[Tensor, " example"]:
    assert stream.logprob is not None
    return stream.logprob / stream.num_tokens
