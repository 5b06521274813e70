"""From saliency for bias and for reasoning to the weights that may move."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unskew.errors import ConfigError
from unskew.models.selection import Granularity, Masks, Ranking, select
from unskew.saliency._combine import Disentangle, Norm, disentangled
from unskew.saliency._overlap import Overlap

Control = Literal["random", "inverted", "all"]
Scores = Mapping[str, Float[Tensor, "..."]]


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen weights, and what a reader should know of them."""

    masks: Masks
    fraction_by_tensor: Mapping[str, float]
    """Share of each tensor's weights that is chosen; less than asked for where scores ran out."""
    overlaps: Mapping[str, Overlap]
    """By tensor, of the highest scores for bias and for reasoning; empty without the latter."""
    warnings: tuple[str, ...]

    @property
    def overlap(self) -> Overlap | None:
        """Of all tensors together; None without a saliency for reasoning."""
        return Overlap.total(self.overlaps.values()) if self.overlaps else None

    @property
    def fraction(self) -> float:
        """Share of all weights that is chosen."""
        chosen = sum(int(m.sum()) for m in self.masks.values())
        return chosen / sum(m.numel() for m in self.masks.values())


@dataclass(frozen=True, slots=True)
class Chooser:
    """How weights are chosen.

    Args:
        fraction: rho, share of the weights that may move, in (0, 1].
        disentangle: See `disentangled`.
        norm: See `normalise`.
        reason_weight: lambda, of the reasoning, >= 0.
        reason_fraction: Share of the weights most responsible for the reasoning that `setdiff`
            takes off; `fraction` if None.
        granularity: See `select`.
        ranking: See `select`.
    """

    fraction: float = 0.1
    disentangle: Disentangle = "subtract"
    norm: Norm = "rank"
    reason_weight: float = 1.0
    reason_fraction: float | None = None
    granularity: Granularity = "weight"
    ranking: Ranking = "per_tensor"

    def choose(
        self, bias: Scores, reason: Scores | None = None, *, transposed: Collection[str] = ()
    ) -> Choice:
        """Masks of the weights with the highest scores.

        With `subtract` and a lambda above 0, weights that are no more responsible for the bias than
        for the reasoning are never taken, even if fewer than asked for remain.

        Args:
            bias: Saliency by name of the weight; may be read from disk tensor by tensor.
            reason: Saliency for the reasoning, of the same weights at least.
            transposed: Names of weights stored as (in, out).

        Raises:
            ConfigError: A setting is out of range, a saliency is missing or of the wrong kind, all
                of the bias is 0, or nothing is left to choose.
        """
        self._check(bias, reason)
        masks: Masks = {}
        overlaps: dict[str, Overlap] = {}
        for names in [[n] for n in bias] if self.ranking == "per_tensor" else [list(bias)]:
            masks |= self._chosen(names, bias, reason, transposed, overlaps)
        if not any(m.any() for m in masks.values()):
            raise ConfigError(
                "no weight is more responsible for the bias than for the reasoning; lower lambda "
                "or raise the fraction"
            )
        shares = {name: m.float().mean().item() for name, m in masks.items()}
        return Choice(masks, shares, overlaps, tuple(self._warnings(shares)))

    def score(self, bias: Tensor, reason: Tensor | None) -> Float[Tensor, "..."]:
        """Score of each weight of one tensor, by which it is chosen; see `disentangled`."""
        return disentangled(
            bias,
            reason,
            disentangle=self.disentangle,
            norm=self.norm,
            weight=self.reason_weight,
        )

    def _chosen(
        self,
        names: list[str],
        bias: Scores,
        reason: Scores | None,
        transposed: Collection[str],
        overlaps: dict[str, Overlap],
    ) -> Masks:
        own = {n: bias[n] for n in names}
        others = {n: reason[n] for n in names} if reason is not None else {}
        scores = {n: self.score(s, others.get(n)) for n, s in own.items()}
        masks = self._top(
            scores,
            self.fraction,
            transposed,
            only_positive=self.disentangle == "subtract" and self.reason_weight > 0,
        )
        if reason is not None:
            tops = [
                self._top({n: s.abs() for n, s in part.items()}, self.fraction, transposed)
                for part in (own, others)
            ]
            for name in names:
                overlaps[name] = Overlap.of(tops[0][name], tops[1][name])
        if self.disentangle == "setdiff":
            taken = self._top(others, self.reason_fraction or self.fraction, transposed)
            masks = {n: m & ~taken[n] for n, m in masks.items()}
        return masks

    def _top(
        self,
        scores: Scores,
        fraction: float,
        transposed: Collection[str],
        *,
        only_positive: bool = False,
    ) -> Masks:
        return select(
            scores,
            fraction,
            granularity=self.granularity,
            ranking=self.ranking,
            transposed=transposed,
            only_positive=only_positive,
        )

    def _check(self, bias: Scores, reason: Scores | None) -> None:
        if self.disentangle != "none" and reason is None:
            raise ConfigError(
                f"disentangle={self.disentangle} needs a saliency for the reasoning; give one or "
                "choose none"
            )
        if reason is not None and (missing := [n for n in bias if n not in reason]):
            raise ConfigError(
                f"the saliency for the reasoning lacks {len(missing)} tensors, first {missing[0]}; "
                "make both of the same weights"
            )
        for which, scores in (("bias", bias), ("reasoning", reason or {})):
            lowest = min((scores[n].min().item() for n in scores), default=0.0)
            if self.disentangle == "project" and scores and lowest >= 0:
                raise ConfigError(
                    f"disentangle=project works on gradients, but the saliency for the {which} has "
                    "no signs; make it with {name: grad, signed: true}"
                )
            if self.disentangle != "project" and lowest < 0:
                raise ConfigError(
                    f"the saliency for the {which} has negative scores, which only "
                    "disentangle=project takes; make it without signs"
                )
        if not any(bias[n].any() for n in bias):
            raise ConfigError("the saliency for the bias is 0 for every weight; nothing is found")

    def _warnings(self, shares: Mapping[str, float]) -> list[str]:
        told: list[str] = []
        if self.norm == "rank" and self.ranking == "global":
            told.append(
                "ranks say nothing of one tensor against another, so ranking=global with norm=rank "
                "chooses from all tensors alike; norm=mean tells them apart"
            )
        if empty := [n for n, share in shares.items() if not share]:
            told.append(f"{len(empty)} tensors have no weight chosen, first {empty[0]}")
        return told


def control_masks(kind: Control, masks: Masks, scores: Scores, seed: int) -> Masks:
    """What a choice has to beat.

    Args:
        kind: `random` and `inverted`: see `random_masks` and `inverted_masks`; `all`: every weight.
        masks: The choice.
        scores: By which it was made.
        seed: Of the random one.
    """
    if kind == "all":
        return {name: torch.ones_like(mask) for name, mask in masks.items()}
    return random_masks(masks, seed) if kind == "random" else inverted_masks(masks, scores)


def random_masks(masks: Masks, seed: int) -> Masks:
    """As many weights of each tensor at random: the control that a choice has to beat."""
    generator = torch.Generator().manual_seed(seed)
    draws = {n: torch.rand(m.shape, generator=generator) for n, m in masks.items()}
    return _as_many(masks, draws)


def inverted_masks(masks: Masks, scores: Scores) -> Masks:
    """As many weights of each tensor, those with the lowest scores."""
    return _as_many(masks, {n: -scores[n] for n in masks})


def _as_many(masks: Masks, scores: Scores) -> Masks:
    made: Masks = {}
    for name, mask in masks.items():
        count = int(mask.sum())
        share = count / mask.numel()
        made[name] = select({name: scores[name]}, share)[name] if count else mask.clone()
    return made
