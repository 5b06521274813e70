"""Stages on the page: weights by layer, curves by stage, strengths, controls."""

from __future__ import annotations

import pytest

from tests.unit.reports.example_record import example_record
from unskew.reports.findings import measures
from unskew.reports.page import page_html
from unskew.reports.record import Checkpoint, HistoryRow, StageRow, TrainRow
from unskew.reports.selection_record import (
    CategoryComparison,
    CategoryOverlap,
    CategoryShare,
    Selection,
    ShadowCheck,
    TensorChoice,
)
from unskew.reports.stages import category_matrix, heat, loss_plots, select_plots, strength_plots


def tensor(name, chosen, *, jaccard=None, chance=None):
    return TensorChoice(
        name=name, num_weights=100, num_chosen=chosen, jaccard=jaccard, jaccard_by_chance=chance
    )


SELECTION = Selection(
    stage="mask",
    bias_criterion="grad_delta",
    num_bias_rows=256,
    reason_criterion="fisher",
    num_reason_rows=128,
    completeness=0.998,
    shadow=[
        ShadowCheck(
            split="train",
            n=400,
            ss_before=66.0,
            ss_after=77.0,
            mean_gap_before=0.14,
            mean_gap_after=0.28,
        )
    ],
    tensors=[
        tensor("h.0.attn.c_attn.weight", 10, jaccard=0.1, chance=0.05),
        tensor("h.0.mlp.c_fc.weight", 40, jaccard=0.04, chance=0.05),
        tensor("h.1.attn.c_attn.weight", 0, jaccard=0.0, chance=0.05),
    ],
)


def staged():
    base = example_record()
    metrics = base.history[0].metrics
    tried = [
        HistoryRow(step=i, stage="update", strength=s, metrics=metrics)
        for i, s in enumerate([0.0, 0.5, 1.0, 0.75])
    ]
    log = [TrainRow(step=10, loss=1.5, learning_rate=1e-3, stage=s) for s in ("shadow", "unbiased")]
    rows = [
        StageRow(name=n, kind=k, result=f"{n} done")
        for n, k in (("shadow", "train"), ("mask", "saliency"), ("update", "edit"))
    ]
    kept = Checkpoint(best_step=3, last_step=3, reason="nearest to even", strength=0.75)
    return base.model_copy(
        update={
            "history": tried,
            "train_log": log,
            "decisions": [],
            "stages": rows,
            "selections": [SELECTION],
            "checkpoint": kept,
            "timings": {"shadow": 12.3},
        }
    )


def test_weights_are_shown_by_layer_and_kind():
    found = heat(SELECTION)
    assert found.kinds == ["attn.c_attn", "mlp.c_fc"]
    assert [layer for layer, _ in found.layers] == ["0", "1"]
    (first, second), (third, missing) = (cells for _, cells in found.layers)
    assert (first.share, first.overlap) == (0.1, pytest.approx(2.0))
    assert (second.share, third.share, third.overlap) == (0.4, 0.0, pytest.approx(0.0))
    assert missing is None and found.hottest == pytest.approx(2.0)


def test_weights_outside_layers_keep_their_name():
    odd = SELECTION.model_copy(update={"tensors": [tensor("head.weight", 5)]})
    found = heat(odd)
    assert found.kinds == ["head.weight"] and found.layers[0][0] == ""
    assert found.layers[0][1][0].overlap is None


def test_strengths_are_in_ascending_order_and_no_training_curve():
    shown = staged()
    measure = measures(shown)[0]
    assert select_plots(shown, measure) == []
    (found,) = strength_plots(shown, measure)
    assert found.stage == "update" and "over strengths" in found.plot.label


def test_each_train_stage_has_a_loss_curve_of_its_own():
    assert [p.stage for p in loss_plots(staged())] == ["shadow", "unbiased"]


def test_the_page_tells_the_stages():
    page = page_html(staged(), {})
    assert "Weights held responsible" in page
    assert "16.7&nbsp;% of 300 weights may move" in page
    assert "SS 66.0 → 77.0, mean gap 0.140 → 0.280" in page
    assert "2.00 \N{MULTIPLICATION SIGN} chance" in page and "--heat: 1.000" in page
    assert "<strong>update</strong>, weight edit: update done" in page
    assert 'training: shadow done <span class="muted">(12&nbsp;s)</span>' in page
    assert "Kept: strength 0.75, nearest to even." in page
    assert "by strength of the change, stage update" in page


def categories():
    def overlap(first, second, jaccard, ceiling):
        return CategoryOverlap(
            first=first,
            second=second,
            jaccard=jaccard,
            by_chance=0.0526,
            z=3.0,
            spearman=0.2,
            ceiling=ceiling,
        )

    return CategoryComparison(
        num_rows=120,
        fraction=0.1,
        shares=[
            CategoryShare(category=name, coverage=share, entanglement=tangled)
            for name, share, tangled in (("a<b", 0.41, 0.125), ("race", 0.2, None))
        ],
        overlaps=[overlap("a<b", "race", 0.3, 0.6)],
    )


def test_bias_types_are_held_against_each_other():
    (first, (none, one)), (second, (other, _)) = category_matrix(categories())
    assert (first.category, second.category) == ("a<b", "race")
    assert none is None and one is other and one.jaccard == 0.3
    selection = SELECTION.model_copy(update={"categories": categories()})
    page = page_html(staged().model_copy(update={"selections": [selection]}), {})
    assert "over 120 rows: how far the top 10&nbsp;%" in page and "(chance 0.053)" in page
    assert "a&lt;b" in page and "a<b" not in page
    assert f"as many at random: {100 * selection.fraction:.0f}&nbsp;%" in page
    assert "top of the rest (at random 10&nbsp;%)" in page
    assert page.count("50&nbsp;% of own") == 2
    assert "41.0&nbsp;%" in page and "12.5&nbsp;%" in page
    assert "for every bias type" not in page_html(staged(), {})
