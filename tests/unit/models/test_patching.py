"""Corrupted and patched runs: identities, and a plain loop with one patch at a time."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
import torch.nn.functional as F

from tests.fixtures import FAMILIES, tiny_model, tokens
from unskew.models.logprobs import ScoringPath
from unskew.models.patching import Patch, PatchedRuns, State
from unskew.models.sites import layer_sites

ROWS = [tokens(1, 5, 9, 7, 4, 6, 8, first=4), tokens(1, 5, 9, 7, 11, 12, first=4)]
NOISY = (2, 3)
LAYERS = 4
EVERYWHERE = ((0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4))
# Float32, a few hundred additions a state, other shapes of matrix products: some 1e-6 of values
# of about 5.
CLOSE = {"rtol": 0.0, "atol": 2e-5}
# Whole modules, where our table names the last map inside them.
MODULES = {
    "gpt2": ("transformer.wte", "transformer.h.{}", "attn", "mlp"),
    "llama": ("model.embed_tokens", "model.layers.{}", "self_attn", "mlp"),
    "opt": ("model.decoder.embed_tokens", "model.decoder.layers.{}", "self_attn", "fc2"),
    "gpt_neox": ("gpt_neox.embed_in", "gpt_neox.layers.{}", "attention", "mlp"),
    "falcon": ("transformer.word_embeddings", "transformer.h.{}", "self_attention", "mlp"),
}


def model_of(family):
    depth = "n_layer" if family in {"gpt2", "bloom"} else "num_hidden_layers"
    return tiny_model(family, **{depth: LAYERS})


def noise(draws=3):
    return 0.5 * torch.randn(draws, len(NOISY), 32, generator=torch.Generator().manual_seed(0))


def runs_of(model, tokens_per_batch=10_000):
    return PatchedRuns(ScoringPath(model), ROWS, NOISY, noise(), tokens_per_batch=tokens_per_batch)


def some_patches():
    """Every kind at every layer, with windows and several positions."""
    spots = [((3,), (3,)), ((2, 3), (2, 3)), ((4, 5), (4,)), ((4,), ())]
    patches = [Patch((), ((), ()))]
    for layer in range(LAYERS):
        for spot in spots:
            patches += [
                Patch((State(kind, layer),), spot) for kind in ("block", "attention", "mlp")
            ]
            window = range(max(0, layer - 1), min(LAYERS, layer + 2))
            patches.append(Patch(tuple(State("mlp", i) for i in window), spot))
    return patches


@pytest.mark.parametrize("family", FAMILIES)
def test_restoring_everything_gives_the_clean_run_and_nothing_the_corrupted_one(family):
    runs = runs_of(model_of(family), tokens_per_batch=20)
    last_block = Patch((State("block", LAYERS - 1),), EVERYWHERE)
    embeddings = Patch((State("embedding", 0),), (NOISY, NOISY))
    got = runs.patched([last_block, Patch((), ((), ())), embeddings])
    torch.testing.assert_close(got[0], runs.clean.expand(3, 2), **CLOSE)
    torch.testing.assert_close(got[1], runs.corrupted, **CLOSE)
    torch.testing.assert_close(got[2], runs.clean.expand(3, 2), **CLOSE)
    assert (runs.corrupted - runs.clean).abs().amax(0).min() > 1e-2


@torch.no_grad()
def plain(model, family, row, draw, patch, number):
    """One row, one patch, all layers computed, modules found by names written out here."""
    embedding, block, attention, mlp = MODULES[family]
    modules = dict(model.named_modules())
    ids = torch.tensor([row.ids])

    def place(state):
        name = block.format(state.layer)
        parts = {"block": name, "attention": f"{name}.{attention}", "mlp": f"{name}.{mlp}"}
        return modules[parts[state.kind]]

    def tensor(output):
        return (output[0] if isinstance(output, tuple) else output).view(1, len(row.ids), -1)

    clean = {}
    with ExitStack() as stack:
        for state in patch.states:

            def keep(m, a, o, state=state):
                clean[state] = tensor(o).clone()

            stack.callback(place(state).register_forward_hook(keep).remove)
        model(input_ids=ids)
    with ExitStack() as stack:

        def corrupt(m, a, o):
            o = o.clone()
            o[0, list(NOISY)] += noise()[draw]
            return o

        stack.callback(modules[embedding].register_forward_hook(corrupt).remove)
        for state in patch.states:

            def restore(m, a, o, state=state):
                changed = tensor(o).clone()
                where = list(patch.positions[number])
                changed[0, where] = clean[state][0, where]
                if isinstance(o, tuple):
                    return (changed, *o[1:])
                return changed.view(o.shape)

            stack.callback(place(state).register_forward_hook(restore).remove)
        logits = F.log_softmax(model(input_ids=ids).logits[0].float(), -1)
    scored = range(row.first, len(row.ids))
    return sum(logits[i - 1, row.ids[i]].item() for i in scored) / len(scored)


@pytest.mark.parametrize("family", MODULES)
def test_patched_is_the_plain_loop(family):
    model = model_of(family)
    patches = some_patches()
    got = runs_of(model).patched(patches)
    expected = [
        [[plain(model, family, row, d, p, i) for i, row in enumerate(ROWS)] for d in (0, 2)]
        for p in patches
    ]
    torch.testing.assert_close(got[:, [0, 2]], torch.tensor(expected), **CLOSE)
    assert (got[1:, 0] - got[0, 0]).abs().max() > 1e-2


def test_order_and_size_of_batches_change_nothing():
    model, patches = model_of("gpt2"), some_patches()
    whole = runs_of(model).patched(patches)
    for size in (17, 100):
        torch.testing.assert_close(runs_of(model, size).patched(patches), whole, **CLOSE)
    turned = runs_of(model, 50).patched(patches[::-1])
    torch.testing.assert_close(turned.flip(0), whole, **CLOSE)


def test_the_model_is_left_as_it_was():
    model = model_of("falcon")
    ids = torch.tensor([[1, 5, 9, 7]])
    with torch.no_grad():
        before = model(input_ids=ids).logits
        runs = runs_of(model)
        runs.patched(some_patches())
        broken = Patch((State("block", 1),), ((99,), (99,)))
        with pytest.raises(IndexError):
            runs.patched([broken])
        assert torch.equal(model(input_ids=ids).logits, before)
    assert not any("forward" in vars(layer.block) for layer in layer_sites(model))
    assert not any(m._forward_hooks for m in model.modules())
