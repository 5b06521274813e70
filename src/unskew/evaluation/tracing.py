"""Causal bias tracing: which states carry the group word's influence on the stereotype.

The group words' embeddings are corrupted with noise, single states are set back to what they were
without it, and what returns of the gap between stereotype and anti-stereotype is their effect.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from unskew.errors import ConfigError, DataError
from unskew.evaluation.runner import PROGRESS_AFTER_SECONDS, TOKENS_PER_BATCH
from unskew.models.logprobs import ScoringPath
from unskew.models.patching import Patch, PatchedRuns, State, StateKind
from unskew.models.sites import layer_sites
from unskew.models.tokens import Encoder, Tokens
from unskew.types import Drop, Pair, Segment

STATES: tuple[StateKind, ...] = ("block", "attention", "mlp")
POSITIONS = ("group_word", "before_attribute", "attribute")
WINDOW_SHARE, LARGEST_WINDOW = 10 / 48, 10
"""ROME's window of 10 of GPT-2 XL's 48 layers, as a share."""

Spot = tuple[tuple[int, ...], ...]
"""Positions that are restored together, for each of the two sentences."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A pair whose context names the group."""

    pair: Pair
    rows: tuple[Tokens, Tokens]
    """Stereotype and anti-stereotype; the same tokens before the first scored one."""
    group_word: tuple[int, ...]
    """Places of the group word's tokens, in every occurrence in the context."""

    def spots(self) -> dict[str, list[Spot]]:
        """By kind of position: each token of the context alone, the attribute's tokens together.

        Attribute tokens have no counterpart in the other sentence. Of them the last is not among
        what the model reads.
        """
        before = self.rows[0].first - 1
        attribute = tuple(tuple(range(row.first, len(row.ids) - 1)) for row in self.rows)
        return {
            "group_word": [((place,), (place,)) for place in self.group_word],
            "before_attribute": [] if before in self.group_word else [((before,), (before,))],
            "attribute": [attribute] if any(attribute) else [],
        }


@dataclass(frozen=True, slots=True)
class PairTrace:
    """Effects of the states on one pair's gap, in nats per token, mean over the draws of noise."""

    pair: Pair
    clean_gap: float
    """Mean log-probability of the stereotype's tokens less that of the anti-stereotype's."""
    corrupted_gap: float
    effects: NDArray[np.float64]
    """Gap with the state restored less `corrupted_gap`, shape (state, position, layer) in the order
    of `STATES` and `POSITIONS`; mean over the tokens of the kind, NaN where there is none."""


@dataclass(frozen=True, slots=True)
class TraceSettings:
    """How states are corrupted and restored.

    Args:
        noise_std: Standard deviation of the noise on each component of an embedding.
        num_draws: Draws of the noise, shared by all patches and both sentences of a pair.
        window: Layers whose attention or MLP output is restored together, around each layer.
        seed: Of the noise; each pair has its own, whatever the other pairs are.
        tokens_per_batch: Most padded tokens in one forward pass; what suits the device if None.
    """

    noise_std: float
    num_draws: int = 10
    window: int = 1
    seed: int = 0
    tokens_per_batch: int | None = None


def choose_subjects(
    pairs: Sequence[Pair], encoder: Encoder, *, max_pairs: int, seed: int
) -> tuple[list[Subject], list[Drop]]:
    """Draw pairs that can be traced, and say of those drawn in vain why they cannot.

    Args:
        pairs: To draw from, without putting back.
        encoder: Tokeniser of the model.
        max_pairs: Pairs at the most; > 0.
        seed: Of the draw.

    Raises:
        ConfigError: `max_pairs` is not positive.
        DataError: No pair can be traced, or a text is longer than the model's context.
    """
    if max_pairs < 1:
        raise ConfigError(f"max_pairs is {max_pairs}; it must be at least 1")
    subjects: list[Subject] = []
    drops: list[Drop] = []
    for pair in random.Random(seed).sample(pairs, len(pairs)):
        found = subject_of(pair, encoder)
        if isinstance(found, Drop):
            drops.append(found)
        else:
            subjects.append(found)
        if len(subjects) == max_pairs:
            break
    if not subjects:
        reasons = sorted({drop.reason for drop in drops})
        raise DataError(
            f"none of {len(pairs)} pairs can be traced: {'; '.join(reasons) or 'there is none'}; "
            "name data whose contexts hold their target"
        )
    return subjects, drops


def subject_of(pair: Pair, encoder: Encoder) -> Subject | Drop:
    """The pair's tokens and those of its group word, or why it cannot be traced.

    The group word is the pair's target as a whole word of the context, whatever its case.
    """
    pattern = rf"(?<!\w){re.escape(pair.target)}(?!\w)"
    spans = [m.span() for m in re.finditer(pattern, pair.context, re.IGNORECASE)]
    if not pair.target or not spans:
        return Drop(pair.id, "its target is no word of the context")
    texts = (pair.stereotype, pair.anti_stereotype)
    stereotype, anti = encoder.encode([Segment(text, pair.completion_start) for text in texts])
    first = stereotype.first
    if first != anti.first or stereotype.ids[:first] != anti.ids[:first]:
        return Drop(pair.id, "the two sentences' contexts are different tokens")
    # A token that joins the end of the word with the start of the completion is scored, not given.
    places = tuple(place for place in encoder.places(texts[0], spans) if place < first)
    if not places:
        return Drop(pair.id, "no token of the context holds its target")
    return Subject(pair, (stereotype, anti), places)


@torch.no_grad()
def embedding_std(path: ScoringPath, subjects: Iterable[Subject]) -> float:
    """Standard deviation of the components of the group words' embeddings, each token once."""
    ids = sorted({s.rows[0].ids[place] for s in subjects for place in s.group_word})
    device = next(path.model.parameters()).device
    embedded = path.model.get_input_embeddings()(torch.tensor(ids, device=device))
    return embedded.float().std(correction=0).item()


def default_window(num_layers: int) -> int:
    """The share of the layers that 10 of GPT-2 XL's 48 are; at least 1, at most 10."""
    return min(LARGEST_WINDOW, max(1, round(WINDOW_SHARE * num_layers)))


def trace_pairs(
    path: ScoringPath, subjects: Sequence[Subject], settings: TraceSettings
) -> list[PairTrace]:
    """Trace each pair; neither their order nor the size of a batch changes a result.

    Args:
        path: Forward pass of the model, which is in eval mode.
        subjects: The pairs.
        settings: Noise and window.

    Raises:
        ConfigError: A setting is out of range.
        UnknownArchitecture, NoMatchingParameter: The model's layers are not known.
        DataError: A log-probability is not finite.

    Source: ROME (Meng et al. 2022, arXiv 2202.05262) section 2.1, applied to bias by BiasEdit (Xu
    et al. 2025, arXiv 2503.08588). Departs: effects are signed, for each pair; the corrupted tokens
    are told from the others; sentences of unequal length take part; group words are whole words;
    no token is added to the vocabulary; the window is a share of the layers.
    """
    num_layers = len(layer_sites(path.model))
    _check(settings, num_layers)
    bar = tqdm(subjects, desc="tracing", delay=PROGRESS_AFTER_SECONDS, leave=False)
    return [_trace(path, subject, settings, num_layers) for subject in bar]


def _check(settings: TraceSettings, num_layers: int) -> None:
    if not 1 <= settings.window <= num_layers:
        raise ConfigError(
            f"window is {settings.window}; the model has {num_layers} layers, so it must be from 1 "
            f"to {num_layers}"
        )
    if settings.num_draws < 1:
        raise ConfigError(f"num_draws is {settings.num_draws}; it must be at least 1")
    if not (settings.noise_std >= 0 and math.isfinite(settings.noise_std)):
        raise ConfigError(f"noise_std is {settings.noise_std}; it must be 0 or positive")


def _trace(
    path: ScoringPath, subject: Subject, settings: TraceSettings, num_layers: int
) -> PairTrace:
    kind = "cpu" if next(path.model.parameters()).device.type == "cpu" else "other"
    runs = PatchedRuns(
        path,
        subject.rows,
        subject.group_word,
        _noise(path, subject, settings),
        tokens_per_batch=settings.tokens_per_batch or TOKENS_PER_BATCH[kind],
    )
    places = [
        (s, p, layer, spot)
        for s in range(len(STATES))
        for p, spots in enumerate(subject.spots().values())
        for layer in range(num_layers)
        for spot in spots
    ]
    patches = [
        Patch(_restored(STATES[s], layer, settings.window, num_layers), spot)
        for s, _, layer, spot in places
    ]
    corrupted = _gap(runs.corrupted)
    effects = _gap(runs.patched(patches)) - corrupted
    sums = np.zeros((len(STATES), len(POSITIONS), num_layers))
    counts = np.zeros_like(sums)
    for (s, p, layer, _), effect in zip(places, effects.mean(-1).tolist(), strict=True):
        sums[s, p, layer] += effect
        counts[s, p, layer] += 1
    clean = _gap(runs.clean)
    if not (math.isfinite(clean.item()) and bool(effects.isfinite().all())):
        raise DataError(
            f"pair {subject.pair.id!r} has a log-probability that is NaN or infinite; the model's "
            "weights or dtype are at fault (try --dtype float32)"
        )
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return PairTrace(subject.pair, clean.item(), corrupted.mean().item(), means)


def _restored(kind: StateKind, layer: int, window: int, num_layers: int) -> tuple[State, ...]:
    """A block's output alone; attention or MLP outputs in the window around the layer."""
    if kind == "block":
        return (State(kind, layer),)
    first = layer - window // 2
    around = range(max(0, first), min(num_layers, first + window))
    return tuple(State(kind, i) for i in around)


def _noise(path: ScoringPath, subject: Subject, settings: TraceSettings) -> Tensor:
    """Shape (draw, position, width); depends on seed and pair alone."""
    name = f"{settings.seed}|{subject.pair.id}"
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])
    width = path.model.get_input_embeddings().weight.shape[1]
    shape = (settings.num_draws, len(subject.group_word), width)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return drawn * settings.noise_std


def _gap(logprobs: Float[Tensor, "*runs 2"]) -> Float[Tensor, "*runs"]:
    """Stereotype less anti-stereotype."""
    return logprobs[..., 0].double() - logprobs[..., 1].double()
