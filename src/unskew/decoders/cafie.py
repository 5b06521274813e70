"""CAFIE: damp what the model says of this group and would not say of the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unskew.data.counterfactual import WordTable
from unskew.errors import ConfigError
from unskew.protocols import Contexts

LEAST_FACTOR = 1e-12
"""Keeps a log-probability finite where tanh is -1 to the last bit and alpha is 1."""
RESERVED_SHARE = 8
"""A counterfactual text may be longer than the text by this part of the model's context."""
CACHED_TEXTS = 1 << 16
Ids = tuple[int, ...]


class Cafie:
    """Compares the distribution after a text with those after the text about other groups.

    With P after the text and P_k after counterfactual k: `d_k = P - P_k`, 0 where it is below the
    threshold, `w_k = 1 + gamma tanh(-sharpness d_k)`, `c_k = exp(|d_k|)`. The new distribution is
    proportional to `P (alpha sum_k w_k c_k / sum_k c_k + 1 - alpha)`. With `combine="mean"` it is
    `alpha` times the average of P and all P_k, and `1 - alpha` times P. A text that names no word
    of the table is left as it is.

    At a sharpness of 100 tanh is all but a step: a token more probable under the text is nearly
    removed, others doubled, which turns a preference round rather than making it even. `mean` is
    the same for every group that the table has.

    Args:
        domains: Name -> rows of words that stand for one another; see `WordTable`.
        combine: `reweigh`, as published, or `mean`.
        alpha: Share of the changed distribution, in [0, 1].
        sharpness: Of tanh, >= 0; lambda in the paper.
        gamma: Reach of the weights, in [0, 1].
        threshold: Differences of probability below it count as none, >= 0.
        contexts: Counterfactuals of a text, at most, evenly spread over its groups; each costs a
            forward pass more for every token behind a group.

    Raises:
        ConfigError: A number is out of range.
        DataError: The words are no table, e.g. lists of different length.

    Source: Banerjee et al., AAAI 2024, arXiv 2311.05451. Departs: the result is normalised; all
    counterfactuals count; words are found whole and in any case, also beside punctuation.
    """

    def __init__(
        self,
        *,
        domains: dict[str, list[list[str]]],
        combine: Literal["reweigh", "mean"] = "reweigh",
        alpha: float = 0.99,
        sharpness: float = 100.0,
        gamma: float = 1.0,
        threshold: float = 0.0,
        contexts: int = 3,
    ) -> None:
        for name, value in (("alpha", alpha), ("gamma", gamma)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value}; it must lie between 0 and 1")
        for name, value in (("sharpness", sharpness), ("threshold", threshold)):
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} is {value}; it must be 0 or more")
        if contexts < 1:
            raise ConfigError(f"contexts is {contexts}; it must be 1 or more")
        self._table = WordTable(domains)
        self._settings: dict[str, Any] = {
            "domains": domains,
            "combine": combine,
            "alpha": alpha,
            "sharpness": sharpness,
            "gamma": gamma,
            "threshold": threshold,
            "contexts": contexts,
        }
        self.by_mean, self.alpha, self.sharpness = combine == "mean", alpha, sharpness
        self.gamma, self.threshold, self.contexts = gamma, threshold, contexts

    def reader(self, encoder: Any) -> CounterfactualReader:
        """The text with other groups in it, up to each place."""
        return CounterfactualReader(self._table, self.contexts, encoder)

    def combine(self, own: Tensor, others: Tensor, present: Tensor) -> Tensor:
        """Log-probabilities with what speaks of this group alone damped, or averaged."""
        here = present[..., None]
        if self.by_mean:
            shown = torch.cat((own[:, None], others.masked_fill(~here, -torch.inf)), 1)
            fair = shown.logsumexp(1) - (1 + present.sum(1, keepdim=True)).log()
            shares = torch.tensor([self.alpha, 1 - self.alpha]).log().tolist()
            return F.log_softmax(torch.logaddexp(fair + shares[0], own + shares[1]), -1)
        difference = (own.exp()[:, None] - others.exp()).masked_fill(~here, 0.0)
        difference = difference.masked_fill(difference.abs() < self.threshold, 0.0)
        weight = 1 + self.gamma * torch.tanh(-self.sharpness * difference)
        share = difference.norm(dim=-1).masked_fill(~present, -torch.inf).softmax(-1)
        factor = self.alpha * (share[..., None] * weight).sum(1) + 1 - self.alpha
        return F.log_softmax(own + factor.clamp_min(LEAST_FACTOR).log(), -1)

    def scaled(self, strength: float) -> Cafie:
        """The same with so many times the sharpness, or of `mean` so many times the share."""
        name = "alpha" if self.by_mean else "sharpness"
        return Cafie(**{**self._settings, name: self._settings[name] * strength})


class CounterfactualReader:
    """The counterfactuals of what stands before each place, as further rows.

    A word counts as soon as its last token is there, so the state after it is held against the
    state after the last token of the word that replaces it. What follows the last word of the
    table keeps its tokens, so that a text which goes on without another goes on in every context
    by the same tokens.

    Args:
        table: Words that stand for one another.
        num_contexts: Counterfactuals of a text, at most.
        encoder: The model's tokeniser.
    """

    def __init__(self, table: WordTable, num_contexts: int, encoder: Any) -> None:
        self._table, self._num_contexts = table, num_contexts
        self._tokenizer, self._start_id = encoder.tokenizer, encoder.start_id
        self.reserved_tokens = encoder.max_length // RESERVED_SHARE
        self._versions: Callable[[Ids], tuple[Ids, ...]] = lru_cache(CACHED_TEXTS)(self._find)

    def __call__(self, ids: Sequence[int], places: Sequence[int]) -> Contexts:
        """Rows that hold the counterfactuals of every place; see `ContextReader`."""
        begin = 1 if ids[0] == self._start_id else 0
        start = tuple(ids[:begin])
        found = [
            [start + version for version in self._versions(tuple(ids[begin:place]))]
            for place in places
        ]
        rows: list[Ids] = []
        known: dict[Ids, tuple[int, int]] = {}
        for context in sorted({c for own in found for c in own}, key=len, reverse=True):
            if context not in known:
                for length in range(1, len(context) + 1):
                    known.setdefault(context[:length], (len(rows), length - 1))
                rows.append(context)
        return Contexts(tuple(rows), tuple(tuple(known[c] for c in own) for own in found))

    def _find(self, ids: Ids) -> tuple[Ids, ...]:
        text = self._decode(ids)
        spans = self._table.spans(text)
        if not spans:
            return ()
        end = len(ids)
        while end > 1 and len(self._decode(ids[: end - 1])) >= spans[-1][1]:
            end -= 1
        num_behind = len(text) - len(self._decode(ids[:end]))
        others = range(1, self._table.num_versions(text))
        spread = others[:: -(-len(others) // self._num_contexts)]
        # The whole text is exchanged and then cut: some entries look at the word behind them.
        texts = [self._table.exchanged(text, by) for by in spread]
        heads = [text[: len(text) - num_behind] for text in texts]
        encoded = self._tokenizer(heads, add_special_tokens=False)["input_ids"]
        return tuple((*head, *ids[end:]) for head in encoded)

    def _decode(self, ids: Ids) -> str:
        return self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)
