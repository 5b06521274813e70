"""Tracing: which pairs, which tokens, and a model whose one layer carries the group word."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.fixtures import encoder, gpt2_style_tokenizer, pairs, tiny_model
from unskew.errors import ConfigError, DataError
from unskew.evaluation.effects import averaged, ranked
from unskew.evaluation.tracing import (
    POSITIONS,
    STATES,
    TraceSettings,
    choose_subjects,
    default_window,
    embedding_std,
    subject_of,
    trace_pairs,
)
from unskew.models.logprobs import ScoringPath
from unskew.types import Drop, Pair

CARRIER = 2
# See test_patching; a difference of two such values.
CLOSE = 5e-5


def pair(context, stereotype, anti, target, id="p"):
    texts = f"{context} {stereotype}", f"{context} {anti}"
    return Pair(id, "gender", target, *texts, None, len(context))


def subjects(chosen=None):
    return choose_subjects(chosen or pairs(), encoder(), max_pairs=99, seed=0)[0]


def word_tokens(found, text, tokenizer=None):
    """The group word's tokens as they stand in the text."""
    offsets = (tokenizer or encoder().tokenizer)(
        text, add_special_tokens=False, return_offsets_mapping=True
    )["offset_mapping"]
    return [text[slice(*offsets[place - 1])] for place in found.group_word]


def test_the_group_word_is_a_whole_word_in_every_occurrence():
    byte_level = encoder(gpt2_style_tokenizer())
    text = pair("The he, then: He", "kind", "rich", "he")
    found = subject_of(text, byte_level)
    assert "".join(word_tokens(found, text.stereotype, byte_level.tokenizer)) == "heHe"
    # Place 0 is the start token, 1 "The", 2 the space.
    assert found.group_word[0] == 3
    inside = subject_of(pair("The other", "kind", "rich", "he"), byte_level)
    assert isinstance(inside, Drop) and inside.reason == "its target is no word of the context"


def test_a_word_that_follows_the_context_is_not_traced():
    found = subject_of(pair("Every old", "nurse late", "pilot late", "nurse"), encoder())
    assert isinstance(found, Drop)


def test_contexts_cut_into_different_tokens_are_not_traced():
    text = Pair("p", "gender", "The", "The kind", "The kx", None, len("The k"))
    found = subject_of(text, encoder(gpt2_style_tokenizer()))
    assert found == Drop("p", "the two sentences' contexts are different tokens")


def test_spots():
    found = subject_of(pair("The nurse is", "kind and soft", "strong", "nurse"), encoder())
    assert found.spots() == {
        "group_word": [((2,), (2,))],
        "before_attribute": [((3,), (3,))],
        "attribute": [((4, 5), ())],
    }
    found = subject_of(pair("The nurse", "late", "rich", "nurse"), encoder())
    assert found.spots() == {
        "group_word": [((2,), (2,))], "before_attribute": [], "attribute": []
    }  # fmt: skip


def test_pairs_are_drawn_by_the_seed():
    drawn = [
        [s.pair.id for s in choose_subjects(pairs(), encoder(), max_pairs=5, seed=seed)[0]]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2] and len(set(drawn[0])) == 5
    stranger = pair("The old window", "late", "rich", "nurse", id="x")
    found, drops = choose_subjects([*pairs(), stranger], encoder(), max_pairs=99, seed=0)
    assert len(found) == 16 and [d.id for d in drops] == ["x"]
    with pytest.raises(DataError, match="none of 1 pairs can be traced: its target is no word"):
        choose_subjects([stranger], encoder(), max_pairs=3, seed=0)
    with pytest.raises(DataError, match="none of 0 pairs can be traced: there is none; name data"):
        choose_subjects([], encoder(), max_pairs=3, seed=0)
    with pytest.raises(ConfigError, match="max_pairs is 0; it must be at least 1"):
        choose_subjects(pairs(), encoder(), max_pairs=0, seed=0)


def test_the_window_is_romes_share_of_the_layers():
    assert [default_window(n) for n in (1, 6, 12, 32, 48, 80)] == [1, 1, 2, 7, 10, 10]


def test_the_spread_of_embeddings_counts_each_token_once():
    model = tiny_model()
    ids = encoder().tokenizer.convert_tokens_to_ids(["nurse", "pilot"])
    rows = [pair(f"The {w} is", "late", "rich", w) for w in ("nurse", "pilot", "nurse")]
    got = embedding_std(ScoringPath(model), [subject_of(row, encoder()) for row in rows])
    expected = np.std(model.transformer.wte.weight[ids].detach().numpy())
    assert got == pytest.approx(expected, rel=1e-5)


def test_no_noise_no_effect():
    traces = trace_pairs(ScoringPath(tiny_model()), subjects(), TraceSettings(0.0, num_draws=2))
    assert max(np.nanmax(np.abs(t.effects)) for t in traces) < CLOSE
    found = averaged(traces, min_change=0.05)
    assert found.num_skipped == 16
    assert all(cell.normalised is None for cell in found.cells)
    assert ranked(found.cells, "group_word") == []


def test_neither_order_nor_batches_change_a_trace():
    path, found = ScoringPath(tiny_model()), subjects()[:4]
    settings = [TraceSettings(0.5, 3, 2, 7, tokens_per_batch=n) for n in (40, 4096)]
    first = trace_pairs(path, found, settings[0])
    second = trace_pairs(path, found[::-1], settings[1])[::-1]
    for a, b in zip(first, second, strict=True):
        assert a.pair == b.pair
        np.testing.assert_allclose(a.effects, b.effects, atol=CLOSE)
        assert a.corrupted_gap == pytest.approx(b.corrupted_gap, abs=CLOSE)
    (other,) = trace_pairs(path, found[:1], TraceSettings(0.5, 3, 2, 8))
    assert abs(first[0].corrupted_gap - other.corrupted_gap) > 1e-3


def carrying_model():
    """Only the attention of one layer writes anything: it alone can carry the group word on."""
    model = tiny_model(n_layer=4)
    with torch.no_grad():
        model.transformer.h[CARRIER].attn.c_proj.weight.mul_(4.0)
        for i, layer in enumerate(model.transformer.h):
            for module in (layer.attn.c_proj, layer.mlp.c_proj):
                if i != CARRIER or module is layer.mlp.c_proj:
                    module.weight.zero_()
                    module.bias.zero_()
    return model


def test_the_layer_that_carries_the_bias_is_found():
    """One token is scored, so that all passes the token before it: shares are 1 or 0, by hand."""
    rows = [
        pair(f"The {word} is", *words, word, id=f"{word}-{words[0]}")
        for word in ("nurse", "pilot", "teacher", "soldier")
        for words in (("late", "punctual"), ("rich", "strong"))
    ]
    path, found = ScoringPath(carrying_model()), subjects(rows)
    settings = TraceSettings(3 * embedding_std(path, found), num_draws=4)
    effects = averaged(trace_pairs(path, found, settings), min_change=0.05)
    assert effects.num_skipped < 3
    shares = {(c.state, c.position, c.layer): c.normalised.value for c in effects.cells}
    expected = dict.fromkeys(shares, 0.0)
    expected["attention", "before_attribute", CARRIER] = 1.0
    expected |= {("block", "group_word", i): 1.0 for i in range(CARRIER)}
    expected |= {("block", "before_attribute", i): 1.0 for i in range(CARRIER, 4)}
    # Rounding of a gap, divided by a change of at least .05.
    assert shares == pytest.approx(expected, abs=CLOSE / 0.05)
    assert not any(position == "attribute" for _, position, _ in shares)
    best = ranked(effects.cells, "before_attribute")[0]
    assert (best.state, best.layer) == ("attention", CARRIER)
    wide = trace_pairs(path, found, TraceSettings(settings.noise_std, 4, window=3))
    around = averaged(wide, min_change=0.05)
    found_in = {
        c.layer
        for c in around.cells
        if (c.state, c.position) == ("attention", "before_attribute") and c.normalised.value > 0.5
    }
    assert found_in == {CARRIER - 1, CARRIER, CARRIER + 1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 3}, "window is 3; the model has 2 layers, so it must be from 1 to 2"),
        ({"window": 0}, "window is 0; the model has 2 layers"),
        ({"num_draws": 0}, "num_draws is 0; it must be at least 1"),
        ({"noise_std": math.nan}, "noise_std is nan; it must be 0 or positive"),
    ],
)
def test_settings_out_of_range(settings, message):
    options = {"noise_std": 0.1, **settings}
    with pytest.raises(ConfigError, match=message):
        trace_pairs(ScoringPath(tiny_model()), subjects(), TraceSettings(**options))


def test_a_broken_model_is_named_with_the_pair():
    model = tiny_model()
    with torch.no_grad():
        model.transformer.h[1].mlp.c_proj.bias.fill_(math.nan)
    with pytest.raises(DataError, match=r"pair '.+' has a log-probability that is NaN"):
        trace_pairs(ScoringPath(model), subjects(), TraceSettings(0.1, num_draws=1))


def test_shapes():
    (trace,) = trace_pairs(ScoringPath(tiny_model()), subjects()[:1], TraceSettings(0.1, 1))
    assert trace.effects.shape == (len(STATES), len(POSITIONS), 2)
