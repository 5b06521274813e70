"""The verdict claims what the intervals allow, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.reports.example_record import example_record, row, ss_row
from unskew.reports.findings import change, measures, phases
from unskew.reports.guards import guard_rows
from unskew.reports.record import Checkpoint, Floor, MetricRow, RunRecord
from unskew.reports.verdict import verdict


def record_of(*metrics: MetricRow, **changes: Any) -> RunRecord:
    """A record with these metrics only."""
    settings = {"metrics": list(metrics), "checkpoint": None, **changes}
    return example_record().model_copy(update=settings)


def ss(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> list[Any]:
    """SS rows from category to value and half-width."""
    return [
        ss_row(phase, name, value, width=width)
        for phase, by_category in (("before", before), ("after", after))
        for name, (value, width) in by_category.items()
    ]


def lms(before: float, after: float, width: float = 0.5) -> list[MetricRow]:
    settings: dict[str, Any] = {"variant": "intrasentence", "better": "higher", "ideal": 100.0}
    return [
        row(phase, "stereoset", "lms", value, width=width, **settings)
        for phase, value in (("before", before), ("after", after))
    ]


BIASED = {"gender": (65.0, 4.0), "race": (62.0, 3.0)}
FAIR = {"gender": (51.0, 4.0), "race": (49.0, 3.0)}


def test_even_handed_names_numbers_interval_and_cost() -> None:
    found = verdict(example_record())
    assert found.level == "even-handed"
    for text in (
        "Even-handed within measurement error",
        "62.7\u00a0% → 50.8\u00a0% [48.9, 52.7]",
        "each of the 4 categories contains 50",
        "±6.9 points",
        "LMS 92.2\u00a0% → 92.0\u00a0% [91.0, 93.0]",
    ):
        assert text in found.sentence


def test_one_category_outside_is_not_even_handed() -> None:
    found = verdict(record_of(*ss(BIASED, {**FAIR, "race": (53.1, 3.0)}), *lms(92, 92)))
    assert found.level == "improved"
    assert "contains 50 in 1 of 2 categories" in found.sentence
    assert "clearly better: race (53.1)" in found.sentence
    assert "Even-handed" not in found.sentence


def test_bias_that_is_left_in_questions_is_no_even_hand() -> None:
    settings: dict[str, Any] = {"variant": "mc3", "better": "closer", "ideal": 0.0}
    asked = [
        row(phase, "bbq", "s_amb", value, width=5.0, **settings)
        for phase, value in (("before", 35.0), ("after", 32.9))
    ]
    even = [*ss(BIASED, FAIR), *lms(92, 92)]
    found = verdict(record_of(*even, *asked))
    assert found.level == "improved"
    assert found.sentence.startswith("Even-handed in SS intrasentence alone: ")
    assert "not even elsewhere: bbq s_amb 35.0" in found.sentence and "32.9" in found.sentence

    asked[1] = row("after", "bbq", "s_amb", 4.9, width=5.0, **settings)
    found = verdict(record_of(*even, *asked))
    assert found.level == "even-handed" and "elsewhere" not in found.sentence


def test_a_preference_left_across_two_sentences_is_told() -> None:
    across = [
        ss_row(phase, "overall", value, width=2.7, variant="intersentence")
        for phase, value in (("before", 66.9), ("after", 59.4))
    ]
    found = verdict(record_of(*ss(BIASED, FAIR), *lms(92, 92), *across))
    assert found.level == "improved"
    assert "not even elsewhere: SS intersentence 66.9" in found.sentence
    # A single category that is off, or a phase that was not measured, is not overall.
    apart = [ss_row("after", "race", 70.0, width=2.7, variant="intersentence"), across[0]]
    assert "elsewhere" not in verdict(record_of(*ss(BIASED, FAIR), *lms(92, 92), *apart)).sentence


def test_the_edge_of_an_interval_counts_as_inside() -> None:
    found = verdict(record_of(*ss(BIASED, {**FAIR, "race": (53.0, 3.0)})))
    assert found.level == "even-handed"


def test_a_category_not_measured_afterwards_is_no_success() -> None:
    found = verdict(record_of(*ss(BIASED, {"gender": (51.0, 4.0)})))
    assert found.level == "improved"
    assert "not measured in both phases: race" in found.sentence


def test_without_interval_nothing_is_claimed() -> None:
    rows = [
        ss_row(phase, "race", value, ci_low=None, ci_high=None)
        for phase, value in (("before", 70.0), ("after", 50.0))
    ]
    found = verdict(record_of(*rows))
    assert found.level == "unchanged"
    assert "no interval" in found.sentence


@pytest.mark.parametrize(
    ("after", "level"),
    [
        ({"gender": (66.0, 4.0), "race": (61.0, 3.0)}, "unchanged"),
        ({"gender": (80.0, 4.0), "race": (62.0, 3.0)}, "worse"),
        ({"gender": (80.0, 4.0), "race": (51.0, 3.0)}, "mixed"),
        # Past 50 and as far on the other side: no better, though the number is lower.
        ({"gender": (36.0, 4.0), "race": (39.0, 3.0)}, "unchanged"),
        ({"gender": (20.0, 4.0), "race": (20.0, 3.0)}, "worse"),
    ],
)
def test_levels(after: dict[str, tuple[float, float]], level: str) -> None:
    assert verdict(record_of(*ss(BIASED, after))).level == level


def test_a_model_that_was_fair_before_is_unchanged() -> None:
    assert verdict(record_of(*ss(FAIR, FAIR))).level == "unchanged"


def test_damage_outranks_every_gain() -> None:
    found = verdict(record_of(*ss(BIASED, FAIR), *lms(92.0, 80.0)))
    assert found.level == "damaged"
    assert found.sentence.startswith("Damaged: LMS 92.0\u00a0% → 80.0\u00a0% [79.5, 80.5]")


def test_a_clear_but_small_loss_is_told_as_cost() -> None:
    found = verdict(record_of(*ss(BIASED, FAIR), *lms(92.0, 91.0)))
    assert found.level == "even-handed"
    assert "; cost: LMS 92.0\u00a0% → 91.0\u00a0%" in found.sentence


def test_a_large_but_unclear_loss_is_not_hidden() -> None:
    found = verdict(record_of(*ss(BIASED, FAIR), *lms(92.0, 88.0, width=4.0)))
    assert found.level == "even-handed"
    assert "a cost that is not clear yet: LMS" in found.sentence


def test_perplexity_is_taken_at_face_value() -> None:
    rows = [
        row(phase, "perplexity", "perplexity", value, width=5.0, unit="ppl")
        for phase, value in (("before", 20.0), ("after", 21.5))
    ]
    assert verdict(record_of(*ss(BIASED, FAIR), *rows)).level == "damaged"
    rows[1] = row("after", "perplexity", "perplexity", 20.9, width=5.0, unit="ppl")
    assert verdict(record_of(*ss(BIASED, FAIR), *rows)).level == "even-handed"


def test_a_missed_floor_is_damage() -> None:
    floor = Floor(metric="stereoset.lms", floor=91.0, value=90.0, met=False)
    checkpoint = Checkpoint(best_step=1, last_step=2, reason="r", floors=[floor])
    found = verdict(record_of(*ss(BIASED, FAIR), *lms(92, 92), checkpoint=checkpoint))
    assert found.level == "damaged"
    assert "limit 91 missed with 90" in found.sentence


def test_a_guard_is_held_to_the_floor_of_its_own_variant() -> None:
    floors = [
        Floor(metric="stereoset.lms", variant=v, floor=limit, value=92.0, met=True)
        for v, limit in (("intersentence", 80.0), ("intrasentence", 91.0))
    ]
    record = record_of(
        *ss(BIASED, FAIR),
        *(row(p, "stereoset", "lms", 92, variant="intrasentence") for p in ("before", "after")),
        checkpoint=Checkpoint(best_step=1, last_step=2, reason="r", floors=floors),
    )
    guard = next(g for g in guard_rows(record) if g.guard.metric == "lms")
    assert guard.floor is not None
    assert (guard.floor.variant, guard.floor.floor) == ("intrasentence", 91.0)


def test_the_only_floor_of_a_guard_is_its_own() -> None:
    """Slot mass is reported beside the oracle and steered by beside the base; it is one number."""
    floor = Floor(metric="slot.slot_mass", variant="base", floor=0.9, value=0.98, met=True)
    rows = [row(p, "slot", "slot_mass", 0.98, variant="oracle") for p in ("before", "after")]
    checkpoint = Checkpoint(best_step=1, last_step=2, reason="r", floors=[floor])
    record = record_of(*ss(BIASED, FAIR), *rows, checkpoint=checkpoint)
    assert next(g for g in guard_rows(record) if g.guard.metric == "slot_mass").floor == floor


def test_distance_to_the_base_is_no_damage_by_itself() -> None:
    rows = [
        row(phase, "divergence", "kl_reference_policy", v, variant="base", width=w, unit="nats")
        for phase, v, w in (("before", 0.0, 0.0), ("after", 0.5, 0.01))
    ]
    assert verdict(record_of(*ss(BIASED, FAIR), *rows)).level == "even-handed"


def test_unmeasured_cost_is_said() -> None:
    assert "what it cost was not measured" in verdict(record_of(*ss(BIASED, FAIR))).sentence


def test_one_phase_is_described() -> None:
    found = verdict(record_of(*ss(BIASED, {})))
    assert found.level == "measured once"
    assert "65.0\u00a0% [61.0, 69.0]" in found.sentence
    assert "contains 50 in 0 of 2 categories" in found.sentence
    assert "in phase before" in found.sentence
    other = [m.model_copy(update={"phase": "gpt2"}) for m in ss(BIASED, {})]
    assert "in phase gpt2" in verdict(record_of(*other)).sentence
    with_guards = verdict(record_of(*ss(BIASED, {}), *lms(92.0, 60.0)))
    assert with_guards.level == "damaged"
    assert "in phase before" in with_guards.sentence


def test_nothing_measured() -> None:
    assert verdict(record_of()).level == "not measured"
    on_select = [m.model_copy(update={"split": "select"}) for m in ss(BIASED, FAIR)]
    assert verdict(record_of(*on_select)).level == "not measured"
    assert verdict(record_of(*lms(92.0, 60.0))).level == "damaged"


def test_a_judges_two_ratios_are_told_where_nothing_else_was_measured() -> None:
    settings: dict[str, Any] = {"variant": "judged", "ideal": 0.0, "better": "lower", "width": 5.0}
    ratios = [
        row("evaluated", "fairmt", "bias_ratio_all", 30.0, **settings),
        row("evaluated", "fairmt", "bias_ratio_non_refusal", 50.0, **settings),
    ]
    found = verdict(record_of(*ratios))
    assert found.level == "measured once"
    assert found.sentence.startswith(
        "Measured by a judge alone: fairmt overall bias_ratio_all 30.0"
    )
    assert "bias_ratio_non_refusal 50.0\u00a0% [45.0, 55.0]" in found.sentence
    grades = row("evaluated", "mt_bench", "score", 7.0, variant="single", ideal=10.0)
    assert verdict(record_of(grades)).level == "not measured"
    assert "StereoSet" in verdict(record_of(*ratios, *ss(BIASED, FAIR))).sentence


def test_clear_is_more_than_the_half_widths_in_quadrature() -> None:
    # Half-widths 3 and 4 give 5.
    before = ss_row("before", "race", 60.0, width=3.0)
    assert change(before, ss_row("after", "race", 55.0, width=4.0)) == "unclear"
    assert change(before, ss_row("after", "race", 54.9, width=4.0)) == "better"
    assert change(before, ss_row("after", "race", 65.1, width=4.0)) == "worse"


def test_direction_follows_the_metric() -> None:
    low, high = row("before", "b", "m", 10.0), row("after", "b", "m", 20.0)
    assert change(low, high) == "worse"
    up = {"better": "higher"}
    assert change(low.model_copy(update=up), high.model_copy(update=up)) == "better"
    no_ideal = {"better": "closer"}
    assert change(low.model_copy(update=no_ideal), high.model_copy(update=no_ideal)) == "unclear"


def test_the_headline_is_stereoset_and_micro_scores_are_left_out() -> None:
    rows = [
        row("after", "crows_pairs", "stereotype_share", 60.0, ideal=50.0, better="closer"),
        ss_row("after", "race", 60.0),
        row("after", "stereoset", "ss_micro", 60.0, ideal=50.0, better="closer"),
        row("after", "own", "share", 60.0, ideal=50.0, better="closer"),
    ]
    found = measures(record_of(*rows))
    assert [m.benchmark for m in found] == ["stereoset", "crows_pairs", "own"]


def test_phases_are_ordered() -> None:
    names = ["paper weights", "oracle", "after", "before"]
    record = record_of(*(ss_row(name, "race", 60.0) for name in names))
    assert phases(record) == ["before", "after", "oracle", "paper weights"]
    assert phases(record_of(ss_row("after", "race", 60.0, split="select"))) == []


def test_distance_guard_never_shows_the_oracle() -> None:
    only = row("after", "divergence", "kl_reference_policy", 0.1, variant="oracle", unit="nats")
    guard = next(g for g in guard_rows(record_of(only)) if g.guard.is_distance)
    assert guard.row.by_phase == {}


def test_bias_in_questions_is_not_called_unmeasured():
    settings: dict[str, Any] = {
        "variant": "mc3",
        "better": "closer",
        "ideal": 0.0,
        "unit": "points",
    }
    found = verdict(record_of(row("evaluated", "bbq", "s_amb", 14.3, width=2.0, **settings)))
    assert found.level == "measured once"
    assert "BBQ overall s_amb 14.3" in found.sentence


def test_bias_in_hidden_states_is_told_by_its_first_variant():
    settings: dict[str, Any] = {"better": "lower", "ideal": 0.0, "unit": "sd"}
    rows = [
        row("evaluated", "seat", "abs_effect_size", value, width=0.1, variant=variant, **settings)
        for variant, value in (("sentences-last", 0.72), ("words-last", 0.46))
    ]
    found = verdict(record_of(*rows))
    assert found.level == "measured once"
    assert "SEAT overall abs_effect_size 0.72" in found.sentence
    assert "0.46" not in found.sentence
    assert "in evaluated; ideal 0" in found.sentence
