"""Self-Debias: hand-worked factors, its limits, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import encoder
from unskew.decoders.self_debias import SelfDebias
from unskew.errors import ConfigError

PREFIX = {"gender": "The nurse is shy"}
P, Q = [0.5, 0.3, 0.2], [0.6, 0.2, 0.2]
CLOSE = 5e-5
"""The hand-worked numbers have four digits."""


def _combined(decoder: SelfDebias, p, *others, present=None):
    given = torch.tensor([list(others)]).log()
    here = torch.ones(1, len(others), dtype=torch.bool) if present is None else present
    return decoder.combine(torch.tensor([p]).log(), given, here)[0].exp().tolist()


@pytest.mark.parametrize(
    ("decay", "expected"), [(50.0, [0.0099, 0.5941, 0.3960]), (10.0, [0.2689, 0.4386, 0.2924])]
)
def test_hand_worked(decay, expected):
    # D = (.1, 0, 0): the factor is max(exp(-5), .01) = .01, and exp(-1) = .3679.
    got = _combined(SelfDebias(prefixes=PREFIX, decay=decay), P, Q)
    assert got == pytest.approx(expected, abs=CLOSE)
    assert sum(got) == pytest.approx(1, abs=1e-6)


def test_nothing_changes_without_decay_or_where_no_prefix_raises_a_token():
    assert _combined(SelfDebias(prefixes=PREFIX, decay=0.0), P, Q) == pytest.approx(P, abs=1e-6)
    assert _combined(SelfDebias(prefixes=PREFIX), P, P) == pytest.approx(P, abs=1e-6)
    assert _combined(SelfDebias(prefixes=PREFIX).scaled(0.0), P, Q) == pytest.approx(P, abs=1e-6)
    assert _combined(SelfDebias(prefixes=PREFIX, epsilon=1.0), P, Q) == pytest.approx(P, abs=1e-6)


def test_the_worst_prefix_counts_whatever_the_order():
    decoder, other = SelfDebias(prefixes=PREFIX, decay=10.0), [0.5, 0.4, 0.1]
    both = _combined(decoder, P, Q, other)
    assert both == pytest.approx(_combined(decoder, P, other, Q), abs=1e-7)
    # D = (.1, .1, 0): factors exp(-1), exp(-1), 1.
    weights = [0.5 * 0.367879, 0.3 * 0.367879, 0.2]
    assert both == pytest.approx([w / sum(weights) for w in weights], abs=CLOSE)
    absent = torch.tensor([[True, False]])
    alone = _combined(decoder, P, Q, other, present=absent)
    assert alone == pytest.approx(_combined(decoder, P, Q), abs=1e-7)


def test_strength_is_a_factor_on_the_decay():
    strong = SelfDebias(prefixes=PREFIX, decay=5.0).scaled(2.0)
    assert (strong.decay, strong.prefixes, strong.epsilon) == (10.0, PREFIX, 0.01)


def test_an_improbable_token_stays_finite():
    own = torch.tensor([[0.0, -200.0]])
    others = torch.tensor([[[-200.0, 0.0]]])
    got = SelfDebias(prefixes=PREFIX).combine(own, others, torch.ones(1, 1, dtype=torch.bool))
    assert got[0, 1].item() == pytest.approx(-200 - 4.60517, abs=1e-3)


def test_the_prefix_stands_between_start_token_and_text():
    read = SelfDebias(prefixes={"a": "The nurse", "b": "Every old soldier"}).reader(encoder())
    words = encoder().tokenizer
    nurse, soldier = (words(t)["input_ids"] for t in ("The nurse", "Every old soldier"))
    text = words("kind and soft")["input_ids"]
    assert read.reserved_tokens == 3
    with_start = read([1, *text], [1, 3])
    assert [list(r) for r in with_start.rows] == [
        [1, *nurse, *text[:2]],
        [1, *soldier, *text[:2]],
    ]
    # The state of the last prefix token predicts the first token of the text, and so on.
    assert with_start.readings == (((0, 2), (1, 3)), ((0, 4), (1, 5)))
    bare = read(text, [1])
    assert [list(r) for r in bare.rows] == [[*nurse, text[0]], [*soldier, text[0]]]
    assert bare.readings == (((0, 2), (1, 3)),)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prefixes": {}}, "give one sentence or more"),
        ({"prefixes": {"gender": " "}}, "give one sentence or more"),
        ({"prefixes": PREFIX, "decay": -1.0}, "decay is -1.0; it must be 0 or more"),
        ({"prefixes": PREFIX, "decay": float("nan")}, "decay is nan"),
        ({"prefixes": PREFIX, "epsilon": 0.0}, "epsilon is 0.0; it must be above 0"),
        ({"prefixes": PREFIX, "epsilon": 1.5}, "epsilon is 1.5"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        SelfDebias(**settings)
