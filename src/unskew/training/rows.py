"""The token rows of an example, one or a pair's two, and what a part makes of their scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from unskew.data.batches import Example
from unskew.errors import ConfigError
from unskew.models.reference import LogprobCache
from unskew.models.tokens import Encoder, Tokens, parting
from unskew.protocols import Part, Quantity
from unskew.types import Pair, Segment


@dataclass(frozen=True, slots=True)
class ExampleRows:
    """The token rows of one example: its own, or the kept and the forgotten variant's."""

    rows: tuple[Tokens, ...]
    keys: tuple[str, ...]
    """Of the rows, under which the reference's scores are kept."""
    contexts: tuple[ExampleRows, ...] = ()
    """A pair's rows in its own and in counterfactual contexts."""

    @property
    def num_scored(self) -> int:
        """Scored tokens of all rows."""
        return sum(row.num_scored for row in self.rows)

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows, scored or not; counterfactual contexts are not among them."""
        return sum(len(row.ids) for row in self.rows)

    @property
    def padded_length(self) -> int:
        """Tokens that the example takes where nothing longer stands beside it."""
        return len(self.rows) * max(len(row.ids) for row in self.rows)


def scored_quantities(parts: Mapping[str, Part]) -> dict[str, Quantity]:
    """By stream, what the parts make of its log-probabilities; a stream has one such quantity.

    Raises:
        ConfigError: Two parts ask one stream for different quantities.
    """
    found: dict[str, Quantity] = {}
    for name, part in parts.items():
        if part.quantity == "kl_reference_policy":
            continue
        if (other := found.setdefault(part.stream, part.quantity)) != part.quantity:
            raise ConfigError(
                f"part {name!r} asks {part.quantity} of stream {part.stream}, of which another "
                f"part asks {other}; give each a stream of its own"
            )
    return found


def encode_examples(
    examples: Sequence[Example], encoder: Encoder, quantities: Mapping[str, Quantity]
) -> dict[str, ExampleRows]:
    """The rows of each example, by its id.

    Raises:
        ConfigError: A part asks for a comparison of single rows, or a single row's score of pairs.
        DataError: A text has nothing to score, is too long, or both of a pair are alike.
    """
    shown = [[e.segments, *e.contexts] for e in examples]
    encoded = iter(encoder.encode([s for sides in shown for both in sides for s in both]))
    found: dict[str, ExampleRows] = {}
    for example, sides in zip(examples, shown, strict=True):
        quantity = quantities.get(example.stream)
        if quantity is not None and (quantity == "logprob") != (example.against is None):
            kind = "single rows" if example.against is None else "whole pairs"
            raise ConfigError(
                f"a part asks {quantity} of stream {example.stream}, whose examples are {kind}"
            )
        own, *contexts = (
            _rows(tuple(next(encoded) for _ in both), example, quantity, f"{example.id}{name}")
            for both, name in zip(sides, _names(len(sides)), strict=True)
        )
        found[example.id] = replace(own, contexts=tuple(contexts))
    return found


def _names(number: int) -> list[str]:
    return ["", *(f"|context {i}" for i in range(number - 1))]


def _rows(
    rows: tuple[Tokens, ...], example: Example, quantity: Quantity | None, key: str
) -> ExampleRows:
    if quantity == "slot_logprob":
        rows = _slot(rows, example)
    bare = tuple(row.without_start() for row in rows)
    # A text of one token has nothing left to score without its start, and a slot nothing before
    # it; both rows of a pair are shown alike.
    is_bare = not example.has_start and all(row.num_scored for row in bare)
    return ExampleRows(bare if is_bare else rows, (key, f"{key}|against")[: len(rows)])


def _slot(rows: tuple[Tokens, ...], example: Example) -> tuple[Tokens, ...]:
    """Both rows, cut after the first token in which they differ and scored on that alone."""
    place = parting(*rows, name=example.id)
    return tuple(Tokens(row.ids[: place + 1], place) for row in rows)


def combined(
    quantity: Quantity, logprob: Float[Tensor, " row"], examples: Sequence[ExampleRows]
) -> Float[Tensor, " example"]:
    """What a part asks for, out of the log-probability of each row summed over its tokens.

    Args:
        quantity: One of the log-probabilities of `protocols.Quantity`.
        logprob: In nats, the rows of an example after each other, the kept variant first.
        examples: Whose rows they are.
    """
    if quantity == "logprob":
        return logprob
    if quantity.endswith("per_token"):
        counts = [float(row.num_scored) for row in flatten(examples)]
        logprob = logprob / torch.tensor(counts, device=logprob.device)
    kept, forgotten = logprob.view(-1, 2).unbind(-1)
    if quantity == "logprob_per_token":
        return (kept + forgotten) / 2
    if quantity == "slot_logprob":
        return torch.logaddexp(kept, forgotten)
    return kept - forgotten


def reference_values(
    cache: LogprobCache, part: Part, examples: Sequence[ExampleRows]
) -> Float[Tensor, " example"]:
    """The quantity under the reference, on the CPU.

    Args:
        cache: Scores of rows under the reference.
        part: What is asked for.
        examples: Of the part's stream.
    """
    over_contexts = part.reference_over == "contexts"
    asked = [c for e in examples for c in e.contexts] if over_contexts else examples
    keys = [key for example in asked for key in example.keys]
    values = combined(part.quantity, cache.lookup(keys, flatten(asked)), asked)
    if not over_contexts:
        return values
    pieces = values.split([len(e.contexts) for e in examples])
    return torch.stack([p.mean() if len(p) else torch.zeros(()) for p in pieces])


def check_variants(pairs: Sequence[Pair], encoder: Encoder) -> None:
    """Both variants of pairs that are compared must part in a token, which is told beforehand.

    Raises:
        DataError: Nothing tells them apart.
    """
    rows = encoder.encode([Segment(t, p.completion_start) for p in pairs for t in p.texts[:2]])
    for pair, one, other in zip(pairs, rows[::2], rows[1::2], strict=True):
        parting(one, other, name=f"pair {pair.id}")


def flatten(examples: Iterable[ExampleRows]) -> list[Tokens]:
    """All rows after each other."""
    return [row for example in examples for row in example.rows]
