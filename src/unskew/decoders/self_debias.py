"""Self-Debias: damp the tokens that the model would raise in a text announced as biased."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from unskew.errors import ConfigError
from unskew.protocols import Contexts


class SelfDebias:
    """Damps each token by how much more probable an announcement of bias makes it.

    With p the distribution after the text, q_j that after prefix j and the text, and
    `D = max(max_j q_j - p, 0)`, the new one is proportional to `p max(exp(-decay D), epsilon)`.
    It is p where no prefix raises a token, or decay is 0.

    Args:
        prefixes: Name of a bias -> sentence that announces a text with this bias. Each costs one
            forward pass more for every token; the worst of them counts.
        decay: How strongly a raised token is damped, >= 0; lambda in the paper.
        epsilon: Least factor on a token, in (0, 1].

    Raises:
        ConfigError: No prefix, an empty one, or decay or epsilon out of range.

    Source: Schick, Udupa, Schuetze 2021, arXiv 2103.00453; several prefixes at once as there.
    Departs: the prefix rows begin with the start token where the text does; the sentences are
    settings; log-probabilities throughout, so that nothing underflows.
    """

    def __init__(
        self, *, prefixes: Mapping[str, str], decay: float = 50.0, epsilon: float = 0.01
    ) -> None:
        if not prefixes or not all(text.strip() for text in prefixes.values()):
            raise ConfigError(
                f"prefixes is {dict(prefixes)}; give one sentence or more, each under the name of "
                "the bias that it announces"
            )
        if not (math.isfinite(decay) and decay >= 0):
            raise ConfigError(f"decay is {decay}; it must be 0 or more (50 is usual)")
        if not 0 < epsilon <= 1:
            raise ConfigError(f"epsilon is {epsilon}; it must be above 0 and at most 1 (.01)")
        self.prefixes, self.decay, self.epsilon = dict(prefixes), decay, epsilon

    def reader(self, encoder: Any) -> PrefixReader:
        """Every row once behind each prefix, which is a line of its own."""
        # A line each: the text then begins with the tokens that it has alone.
        lines = [f"{text.strip()}\n" for text in self.prefixes.values()]
        ids = encoder.tokenizer(lines, add_special_tokens=False)["input_ids"]
        return PrefixReader(tuple(tuple(line) for line in ids), encoder.start_id)

    def combine(self, own: Tensor, others: Tensor, present: Tensor) -> Tensor:
        """Log-probabilities damped where a prefix raises them."""
        raised = others.exp() - own.exp()[:, None]
        excess = raised.masked_fill(~present[..., None], 0.0).amax(1).clamp_min(0.0)
        log_factor = (-self.decay * excess).clamp_min(math.log(self.epsilon))
        return F.log_softmax(own + log_factor, -1)

    def scaled(self, strength: float) -> SelfDebias:
        """The same with so many times the decay."""
        return SelfDebias(prefixes=self.prefixes, decay=self.decay * strength, epsilon=self.epsilon)


@dataclass(frozen=True, slots=True)
class PrefixReader:
    """Puts each prefix between the start token, if there is one, and the text."""

    prefixes: tuple[tuple[int, ...], ...]
    start_id: int

    @property
    def reserved_tokens(self) -> int:
        """Tokens of the longest prefix."""
        return max(len(prefix) for prefix in self.prefixes)

    def __call__(self, ids: Sequence[int], places: Sequence[int]) -> Contexts:
        """One further row for each prefix; see `ContextReader`."""
        begin = 1 if ids[0] == self.start_id else 0
        given = tuple(ids[: max(places)])
        rows = tuple((*given[:begin], *prefix, *given[begin:]) for prefix in self.prefixes)
        readings = tuple(
            tuple((j, place - 1 + len(prefix)) for j, prefix in enumerate(self.prefixes))
            for place in places
        )
        return Contexts(rows, readings)
