"""Packed rows give each sequence the numbers it has alone, or packing is refused."""

from __future__ import annotations

import sys

import pytest
import torch

from tests.fixtures import FAMILIES, tiny_model, tokens, with_adapter
from unskew.evaluation.prefixes import attention_of, collate_packed, longest_packed, pack
from unskew.models.logprobs import ScoringPath, collate

GROUPS = [
    [tokens(1, 5, 9, *tail, first=3) for tail in ((7, 4), (8,), (6, 6, 4))],
    [tokens(1, 5, 9, 7), tokens(1, 5, 9, 8)],
    [tokens(4, 5, 6, 7), tokens(4, 5, 6), tokens(4, 5, 6, 7)],
    [tokens(1, 5, 9), tokens(1, 7, 9)],
    [tokens(1, 5, 9, 4, first=2)],
]  # fmt: skip


def _alone(path, sequence) -> list[float]:
    batch = collate([sequence])
    return path.greedy(path.states(batch), batch.targets).logprob.tolist()


def _packed_scores(path, groups) -> list[list[list[float]]]:
    packed = [(row, members, g) for g, group in enumerate(groups) for row, members in group]
    batch, extra = collate_packed(
        [row for row, _, _ in packed], "cpu", attention_of(path) == "sdpa"
    )
    logprob = path.greedy(path.states(batch, **extra), batch.targets).logprob
    pieces = logprob.split([len(row.predictions) for row, _, _ in packed])
    found = [[[] for _ in range(3)] for _ in groups]
    for (row, members, g), piece in zip(packed, pieces, strict=True):
        for member, scored in zip(members, row.scored, strict=True):
            found[g][member] = piece[list(scored)].tolist()
    return found


EAGER_ONLY = {"gemma2", "bloom"}
IMPLEMENTATIONS = [(f, a) for f in FAMILIES for a in ("sdpa", "eager")[f in EAGER_ONLY :]]


@pytest.mark.parametrize(("family", "attention"), IMPLEMENTATIONS)
@torch.no_grad()
def test_packed_is_unpacked(family, attention):
    path = ScoringPath(tiny_model(family, attn_implementation=attention))
    assert attention_of(path) == attention
    share = longest_packed(path) > 0
    assert share == (family != "bloom"), "Bloom takes no position ids, all others are packed"
    found = _packed_scores(path, [pack(g, share=share) for g in GROUPS])
    for group, scores in zip(GROUPS, found, strict=True):
        for sequence, score in zip(group, scores, strict=False):
            assert score == pytest.approx(_alone(path, sequence), abs=1e-4)


@torch.no_grad()
def test_with_an_adapter_too():
    path = ScoringPath(with_adapter(tiny_model("llama")))
    found = _packed_scores(path, [pack(GROUPS[0], share=True)])
    for sequence, score in zip(GROUPS[0], found[0], strict=True):
        assert score == pytest.approx(_alone(path, sequence), abs=1e-4)


def test_what_a_packed_row_holds():
    [(row, members)] = pack(GROUPS[0], share=True)
    assert members == [0, 1, 2]
    # Shared 1 5 9, then each tail less its last token.
    assert row.ids == (1, 5, 9, 7, 6, 6)
    assert row.position_ids == (0, 1, 2, 3, 3, 4)
    assert row.branch == (0, 0, 0, 1, 3, 3)
    assert row.predictions == ((2, 7), (3, 4), (2, 8), (2, 6), (4, 6), (5, 4))
    assert row.scored == ((0, 1), (2,), (3, 4, 5))


def test_predictions_in_the_shared_part_are_made_once():
    [(row, _)] = pack(GROUPS[1], share=True)
    assert row.predictions == ((0, 5), (1, 9), (2, 7), (2, 8))
    assert row.scored == ((0, 1, 2), (0, 1, 3))


def test_little_in_common_is_not_packed():
    assert [members for _, members in pack(GROUPS[3], share=True)] == [[0], [1]]
    assert [members for _, members in pack(GROUPS[0], share=False)] == [[0], [1], [2]]


def test_a_sequence_with_nothing_to_score_has_no_row():
    assert pack([tokens(5)], share=True) == []


def test_packing_keeps_to_the_sliding_window():
    assert longest_packed(ScoringPath(tiny_model("mistral", sliding_window=16))) == 16
    assert longest_packed(ScoringPath(tiny_model("mistral", sliding_window=None))) == sys.maxsize


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_packed(dtype):
    assert longest_packed(ScoringPath(tiny_model("llama").to(dtype))) == sys.maxsize


def test_a_model_that_ignores_the_mask_is_not_packed(monkeypatch):
    path = ScoringPath(tiny_model())
    states = path.states
    monkeypatch.setattr(
        path, "states", lambda batch, **extra: states(batch, position_ids=extra.get("position_ids"))
    )
    assert longest_packed(path) == 0
