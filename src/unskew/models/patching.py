"""Runs of a model with noise on some embeddings, and with single states set back to their value.

The states of a clean run are kept. A *patched* run repeats the corrupted one, with some states of
some positions set to what they were in the clean run; layers before the first such state are not
computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unskew.models.logprobs import ScoringPath, collate, sum_by_row
from unskew.models.sites import LayerSites, layer_sites
from unskew.models.tokens import Tokens

StateKind = Literal["embedding", "block", "attention", "mlp"]


class State(NamedTuple):
    """One of the states of a model; an embedding has layer 0."""

    kind: StateKind
    layer: int


@dataclass(frozen=True, slots=True)
class Patch:
    """States that are set to their clean value together, at some positions of each row."""

    states: tuple[State, ...]
    positions: tuple[tuple[int, ...], ...]
    """For each row the places in its `Tokens.ids`."""

    @property
    def first_layer(self) -> int:
        """The first layer that has to be computed again."""
        return min(s.layer + (s.kind == "block") for s in self.states) if self.states else 0


class PatchedRuns:
    """A few rows, run clean and with noise on the embeddings of some positions.

    Args:
        path: Forward pass of the model, which is in eval mode.
        rows: The rows; all have the noisy positions among the tokens the model reads.
        positions: Places in `Tokens.ids` whose embeddings are corrupted, the same in each row.
        noise: What is added to them; each draw is shared by all rows and patches.
        tokens_per_batch: Most padded tokens in one forward pass. Changes memory, not results.

    Raises:
        UnknownArchitecture, NoMatchingParameter: The model's layers are not known.
    """

    @torch.no_grad()
    def __init__(
        self,
        path: ScoringPath,
        rows: Sequence[Tokens],
        positions: Sequence[int],
        noise: Float[Tensor, "draw position width"],
        *,
        tokens_per_batch: int,
    ) -> None:
        self.path = path
        self.rows = rows
        self.device = next(path.model.parameters()).device
        self._layers = layer_sites(path.model)
        self._embedding: nn.Module = path.model.get_input_embeddings()
        self._positions = torch.tensor(positions, dtype=torch.long, device=self.device)
        self._noise = noise.to(self.device)
        self._longest = max(len(row.ids) for row in rows)
        self._block_gives_tuple = False
        self._shape = torch.Size()
        self._rows_per_batch = max(1, tokens_per_batch // self._longest)
        kinds: tuple[StateKind, ...] = ("block", "attention", "mlp")
        states = [State(kind, i) for i in range(len(self._layers)) for kind in kinds]
        with self._kept([State("embedding", 0), *states]) as clean:
            self.clean: Float[Tensor, " row"] = self._mean_logprob(rows)
        self._clean = {state: torch.cat(parts) for state, parts in clean.items()}
        every = torch.arange(len(noise) * len(rows), device=self.device)
        with self._kept([s for s in states if s.kind == "block"]) as corrupted:
            scores = [self._corrupted_run(part) for part in every.split(self._rows_per_batch)]
        self._corrupted = [torch.cat(parts) for parts in corrupted.values()]
        self.corrupted: Float[Tensor, "draw row"] = torch.cat(scores).view(len(noise), len(rows))
        """Mean log-probability of the scored tokens, nats; `clean` is the same without noise."""

    @torch.no_grad()
    def patched(self, patches: Sequence[Patch]) -> Float[Tensor, "patch draw row"]:
        """Mean log-probability of each row's scored tokens with each patch, in nats.

        Args:
            patches: In any order; many share a forward pass.
        """
        draws, num_rows = self.corrupted.shape
        found = torch.empty(len(patches), draws * num_rows)
        first_layers = [p.first_layer for p in patches]
        for first in sorted(set(first_layers)):
            chosen = [i for i, layer in enumerate(first_layers) if layer == first]
            jobs = torch.cartesian_prod(torch.tensor(chosen), torch.arange(draws * num_rows))
            for part in jobs.split(self._rows_per_batch):
                asked = [patches[i] for i in part[:, 0].tolist()]
                scores = self._patched_run(asked, part[:, 1].to(self.device), first)
                found[part[:, 0], part[:, 1]] = scores
        return found.view(len(patches), draws, num_rows)

    def _corrupted_run(self, runs: Int[Tensor, " run"]) -> Float[Tensor, " run"]:
        """A part of the runs, which are numbered by draw and row."""
        with self._noisy(runs):
            return self._mean_logprob([self.rows[i] for i in (runs % len(self.rows)).tolist()])

    def _patched_run(
        self, patches: Sequence[Patch], runs: Int[Tensor, " run"], first: int
    ) -> Float[Tensor, " run"]:
        with ExitStack() as stack:
            if first:
                stack.enter_context(self._from_layer(first, runs))
            else:
                stack.enter_context(self._noisy(runs))
            for state in {s for p in patches for s in p.states}:
                change = self._restoration(state, patches, runs)
                stack.enter_context(_changed(self._module(state), change))
            return self._mean_logprob([self.rows[i] for i in (runs % len(self.rows)).tolist()])

    def _restoration(
        self, state: State, patches: Sequence[Patch], runs: Int[Tensor, " run"]
    ) -> Callable[[Tensor], Tensor]:
        """What puts the clean value of a state where the patches ask for it."""
        own = (runs % len(self.rows)).tolist()
        places = [
            (run, row, position)
            for run, (row, patch) in enumerate(zip(own, patches, strict=True))
            if state in patch.states
            for position in patch.positions[row]
        ]
        grid = torch.tensor(places, dtype=torch.long, device=self.device)
        run, row, position = grid.view(-1, 3).unbind(1)
        clean = self._clean[state]

        def restore(output: Tensor) -> Tensor:
            grid = output.view(len(runs), -1, output.shape[-1]).clone()
            grid[run, position] = clean[row, position]
            return grid.view(output.shape)

        return restore

    def _noisy(self, runs: Int[Tensor, " run"]) -> Any:
        noise = self._noise[runs // len(self.rows)]

        def corrupt(output: Tensor) -> Tensor:
            output = output.clone()
            output[:, self._positions] += noise.to(output.dtype)
            return output

        return _changed(self._embedding, corrupt)

    @contextmanager
    def _from_layer(self, first: int, runs: Int[Tensor, " run"]) -> Iterator[None]:
        """Put what the corrupted run left in place of the layers before `first`."""
        stored = self._corrupted[first - 1][runs]
        blocks = [self._layers[i].block for i in range(first)]

        def recall(is_tuple: bool, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
            output = stored[:, : hidden.shape[1]]
            return (output, None) if is_tuple else output

        for block in blocks:
            block.forward = partial(recall, self._block_gives_tuple)
        try:
            yield
        finally:
            for block in blocks:
                del block.forward

    @contextmanager
    def _kept(self, states: Sequence[State]) -> Iterator[dict[State, list[Tensor]]]:
        """Outputs of each state while the block runs, one for each forward pass."""
        kept: dict[State, list[Tensor]] = {state: [] for state in states}

        def keep(state: State, module: nn.Module, args: Any, output: Any) -> None:
            if state.kind == "block":
                self._block_gives_tuple = isinstance(output, tuple)
            tensor = output[0] if isinstance(output, tuple) else output
            kept[state].append(self._as_grid(tensor))

        with ExitStack() as stack:
            for state in states:
                handle = self._module(state).register_forward_hook(partial(keep, state))
                stack.callback(handle.remove)
            yield kept

    def _as_grid(self, output: Tensor) -> Tensor:
        """(row, seq, width), padded to the longest row; OPT's MLP works on a flat list."""
        grid = output.view(self._shape + output.shape[-1:])
        return nn.functional.pad(grid, (0, 0, 0, self._longest - 1 - grid.shape[1]))

    def _module(self, state: State) -> nn.Module:
        if state.kind == "embedding":
            return self._embedding
        layer: LayerSites = self._layers[state.layer]
        return {"block": layer.block, "attention": layer.attention, "mlp": layer.mlp}[state.kind]

    def _mean_logprob(self, rows: Sequence[Tokens]) -> Float[Tensor, " row"]:
        batch = collate(rows, self.device)
        self._shape = batch.input_ids.shape
        total = sum_by_row(self.path.logprobs(self.path.states(batch), batch.targets), batch)
        return total.cpu() / torch.tensor([float(row.num_scored) for row in rows])


@contextmanager
def _changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change what a module gives while the block runs."""

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
