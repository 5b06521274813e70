"""Tracing against the oracle: groups move the biased model's gap, and hardly the oracle's."""

from __future__ import annotations

import pytest

from tests.world_fixture import taught
from unskew.evaluation.effects import Effects, averaged, ranked
from unskew.evaluation.tracing import TraceSettings, choose_subjects, embedding_std, trace_pairs
from unskew.models.load import load_model
from unskew.models.logprobs import ScoringPath
from unskew.world.language import World

# Planted strengths differ by group, and noise is noise: the same 40 pairs, four draws.
PAIRS, DRAWS = 40, 4


@pytest.fixture(scope="module")
def effects() -> dict[str, Effects]:
    found = {}
    rows = World().dataset().splits["report"].pairs
    for name in ("biased", "oracle"):
        loaded = load_model(str(getattr(taught(), name)))
        path = ScoringPath(loaded.model)
        subjects, drops = choose_subjects(rows, loaded.encoder, max_pairs=PAIRS, seed=0)
        assert not drops
        settings = TraceSettings(3 * embedding_std(path, subjects), DRAWS)
        found[name] = averaged(trace_pairs(path, subjects, settings), min_change=0.05)
    return found


def test_the_group_word_carries_the_planted_gap_and_in_the_oracle_none(effects):
    biased, oracle = effects["biased"], effects["oracle"]
    assert biased.clean_gap.value > 0.3 > 5 * abs(oracle.clean_gap.value)
    assert biased.clean_gap.value - biased.corrupted_gap.value > 0.15
    assert biased.absolute_change.ci_low > oracle.absolute_change.ci_high


def test_attention_before_the_attribute_reads_the_group(effects):
    """Two layers; the word is named at once, so that the first layer's attention fetches it."""
    best = ranked(effects["biased"].cells, "before_attribute")[0]
    assert (best.state, best.layer) == ("attention", 0)
    assert best.normalised is not None and best.normalised.value > 0.6
