"""Shares of an effect: by hand, against scipy's paired bootstrap, and where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import bootstrap

from tests.unit.comparison.small_runs import DATA, pairs, unlearned, write_run
from unskew.comparison.kept import share_kept
from unskew.errors import DataError
from unskew.reports.record import RunRecord

ITEMS = 60


def wins(share, seed):
    """As many preferred stereotypes as the share says, at places that depend on the seed."""
    rng = np.random.default_rng(seed)
    found = np.zeros(ITEMS, int)
    found[rng.permutation(ITEMS)[: round(share * ITEMS)]] = 1
    return found.tolist()


def run(folder, before, after, **changes):
    folder = unlearned(folder, before, after, **changes)
    return folder, RunRecord.load(folder)


def kept(tmp_path, sibling, base):
    found = share_kept(run(tmp_path / "sibling", *sibling), run(tmp_path / "base", *base))
    return {k.metric: k for k in found}


def test_by_hand(tmp_path):
    """Base 90 to 50 per cent, sibling 80 to 60: 20 points of 40, and .04 nats of .08."""
    base, sibling = (wins(0.9, 1), wins(0.5, 2)), (wins(0.8, 3), wins(0.6, 4))
    found = kept(tmp_path, sibling, base)
    assert set(found) == {"ss", "mean_gap"}
    assert (found["ss"].base.value, found["ss"].sibling.value) == pytest.approx((40, 20))
    assert (found["mean_gap"].base.value, found["mean_gap"].sibling.value) == pytest.approx(
        (0.08, 0.04)
    )
    for row in found.values():
        assert row.n == ITEMS
        assert row.share is not None
        assert row.share.value == pytest.approx(0.5)
        assert row.share.ci_low < 0.5 < row.share.ci_high


def test_ss_counts_by_its_distance_and_the_gap_by_its_move(tmp_path):
    """From 90 past even to 20 per cent is 10 points nearer, and a move of .14 nats."""
    found = kept(tmp_path, (wins(0.9, 1), wins(0.2, 2)), (wins(0.9, 1), wins(0.5, 2)))
    assert found["ss"].sibling.value == pytest.approx(10)
    assert found["mean_gap"].sibling.value == pytest.approx(0.14)
    assert found["mean_gap"].share.value == pytest.approx(0.14 / 0.08)


def test_what_makes_it_worse_is_a_negative_share(tmp_path):
    found = kept(tmp_path, (wins(0.6, 1), wins(0.8, 2)), (wins(0.9, 3), wins(0.5, 4)))
    assert found["ss"].share.value == pytest.approx(-0.5)


def test_the_same_answers_keep_all_without_doubt(tmp_path):
    """All four are drawn together: apart, the interval would be as wide as two effects."""
    scores = wins(0.9, 1), wins(0.5, 2)
    for row in kept(tmp_path, scores, scores).values():
        assert (row.share.value, row.share.ci_low, row.share.ci_high) == (1, 1, 1)


def test_the_interval_is_scipys(tmp_path):
    base, sibling = (wins(0.9, 1), wins(0.5, 2)), (wins(0.8, 3), wins(0.6, 4))
    found = kept(tmp_path, sibling, base)["mean_gap"]

    def ratio(a, b, c, d, axis):
        return (a.mean(axis) - b.mean(axis)) / (c.mean(axis) - d.mean(axis))

    theirs = bootstrap(
        tuple(np.array(v, float) for v in (*sibling, *base)),
        ratio,
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=0,
    ).confidence_interval
    # Two ends of 2,000 and 4,000 draws, each with a standard error of some hundredths.
    assert found.share.ci_low == pytest.approx(theirs.low, abs=0.08)
    assert found.share.ci_high == pytest.approx(theirs.high, abs=0.08)


def test_no_share_of_what_may_be_nothing(tmp_path):
    """The base's own effect is told with its interval; a ratio to it is not."""
    found = kept(tmp_path, (wins(0.8, 1), wins(0.5, 2)), (wins(0.6, 3), wins(0.55, 4)))
    for row in found.values():
        assert row.base.ci_low < 0 < row.base.ci_high
        assert row.share is None


def test_other_data_or_items_or_a_run_without_both_phases(tmp_path):
    before, after = wins(0.9, 1), wins(0.5, 2)
    ours = run(tmp_path / "ours", before, after)
    other = run(tmp_path / "data", before, after, data=DATA.model_copy(update={"sha256": "x"}))
    with pytest.raises(DataError, match="measured on other data"):
        share_kept(ours, other)
    phases = {
        phase: {"stereoset": pairs(scores, num_tokens=7)}
        for phase, scores in (("before", before), ("after", after))
    }
    folder = write_run(tmp_path / "items", phases)
    with pytest.raises(DataError, match="share no item"):
        share_kept(ours, (folder, RunRecord.load(folder)))
    del phases["before"]
    folder = write_run(tmp_path / "once", phases)
    with pytest.raises(DataError, match="has no scores of a phase 'before'"):
        share_kept(ours, (folder, RunRecord.load(folder)))


def test_items_of_one_run_alone_are_left_out(tmp_path):
    """Those of the other carry it: the base has five more that its debiasing turned round."""
    sibling = run(tmp_path / "sibling", wins(0.8, 3), wins(0.6, 4))
    more = [replace(p, id=f"more-{p.id}", target=f"m{p.target}") for p in pairs([1] * 5)]
    turned = [replace(p, id=f"more-{p.id}", target=f"m{p.target}") for p in pairs([0] * 5)]
    phases = {
        "before": {"stereoset": pairs(wins(0.9, 1)) + more},
        "after": {"stereoset": pairs(wins(0.5, 2)) + turned},
    }
    folder = write_run(tmp_path / "base", phases)
    found = share_kept(sibling, (folder, RunRecord.load(folder)))
    assert [k.n for k in found] == [ITEMS, ITEMS]
    assert [k.base.value for k in found] == pytest.approx([40, 0.08])
