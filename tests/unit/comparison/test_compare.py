"""Oracles: sign tests and differences worked by hand; symmetry; what may not be compared."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from tests.unit.comparison.small_runs import (
    DATA,
    MODEL,
    evaluated,
    pairs,
    questions,
    unlearned,
    write_run,
)
from unskew import compare
from unskew.comparison.lineup import names_of
from unskew.errors import ConfigError, DataError
from unskew.reports.storage import write_samples

SS = ("stereoset", "intrasentence", "ss", "overall")
ALL, NONE = [1] * 40, [0] * 40
EVEN = [1, 1, 0, 0] * 10


def shares(*counts: int, n: int = 40) -> list[int]:
    """Ones in blocks of ten, as many as the counts say."""
    return [1 if i % 10 < counts[i // 10 % len(counts)] else 0 for i in range(n)]


def only(compared, key=SS):
    (comparison,) = compared.outcome.of(key)
    return comparison


def test_wins_and_losses_are_the_sign_test(tmp_path):
    """Seven pairs turn to the anti-stereotype and one the other way; 32 stay."""
    first = [1] * 7 + [0] + EVEN[:32]
    second = [0] * 7 + [1] + EVEN[:32]
    found = only(compare([evaluated(tmp_path / "a", first), evaluated(tmp_path / "b", second)]))
    assert (found.first, found.second, found.n) == ("a", "b", 40)
    assert found.difference == pytest.approx(100 * (1 - 7) / 40)
    assert found.p_value == pytest.approx(binomtest(1, 8).pvalue)


def test_a_run_against_itself(tmp_path):
    runs = [evaluated(tmp_path / name, EVEN) for name in ("a", "b")]
    compared = compare(runs)
    for c in compared.outcome.comparisons:
        assert (c.difference, c.p_value, c.p_adjusted, c.winner) == (0, 1, 1, None)
        assert (c.ci_low, c.ci_high) == (0, 0)
    assert compared.standing(SS) == "no winner (never beaten: a, b)"


def test_the_one_nearer_to_the_ideal_is_ahead(tmp_path):
    runs = [evaluated(tmp_path / "a", ALL), evaluated(tmp_path / "b", EVEN)]
    found = only(compare(runs))
    assert found.difference == -50
    assert found.gain.value == 50
    assert found.winner == "b"


def test_equal_distances_have_no_winner_though_the_runs_differ(tmp_path):
    runs = [evaluated(tmp_path / "a", ALL), evaluated(tmp_path / "b", NONE)]
    found = only(compare(runs))
    assert found.difference == -100
    assert found.p_value < 0.001
    assert found.gain.value == 0
    assert found.p_adjusted > 0.5
    assert found.winner is None


def test_overshoot_is_judged_by_the_distance(tmp_path):
    """From 95 to 45 and to 5: a fall alone is no merit."""
    runs = [
        unlearned(tmp_path / "near", shares(10, 10, 10, 8), shares(5, 4)),
        unlearned(tmp_path / "far", shares(10, 10, 10, 8), shares(0, 1)),
    ]
    compared = compare(runs)
    assert compared.outcome.champion(SS, compared.names) == "near"
    assert [c.winner for c in compared.outcome.of(SS)] == ["near", None, "near"]


def test_every_pair_or_all_against_one(tmp_path):
    runs = [unlearned(tmp_path / name, ALL, EVEN) for name in ("a", "b", "c")]
    every = compare(runs).outcome.of(SS)
    assert [(c.first, c.second) for c in every] == [
        ("base", "a"),
        ("base", "b"),
        ("base", "c"),
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    for baseline in ("b", str(tmp_path / "b")):
        compared = compare(runs, baseline=baseline)
        assert [(c.first, c.second) for c in compared.outcome.of(SS)] == [
            ("b", "base"),
            ("b", "a"),
            ("b", "c"),
        ]
        assert compared.standing(SS) == "against b: behind: base; not told apart: a, c"
    with pytest.raises(ConfigError, match="did you mean 'base'"):
        compare(runs, baseline="bsae")


def test_holm_is_over_the_comparisons_of_a_metric(tmp_path):
    """Six answers turn wrong: p = 1/32 alone, and three times that among three comparisons."""
    answers = {"a": [1] * 6 + EVEN[:34], "b": [0] * 6 + EVEN[:34], "c": [1] * 6 + EVEN[:34]}
    runs = [
        write_run(tmp_path / name, {"evaluated": {"reasoning": questions(c)}}, recipe=None)
        for name, c in answers.items()
    ]
    accuracy = ("reasoning", "greedy", "accuracy", "overall")
    alone = only(compare(runs[:2]), accuracy)
    assert (alone.p_adjusted, alone.winner) == (pytest.approx(1 / 32), "a")
    found = {(c.first, c.second): c for c in compare(runs).outcome.of(accuracy)}
    assert {pair: c.p_adjusted for pair, c in found.items()} == pytest.approx(
        {("a", "b"): 3 / 32, ("b", "c"): 3 / 32, ("a", "c"): 1}
    )
    assert [c.winner for c in found.values()] == [None, None, None]


def test_there_are_draws_enough_for_the_correction(tmp_path):
    """Eight runs: the smallest possible p-value must survive 56 comparisons of categories."""
    runs = [evaluated(tmp_path / f"r{i}", (ALL if i else EVEN) * 2) for i in range(8)]
    compared = compare(runs)
    assert compared.outcome.champion(SS, compared.names) == "r0"
    by_category = ("stereoset", "intrasentence", "ss", "gender")
    assert compared.outcome.champion(by_category, compared.names) == "r0"


def test_a_metric_that_should_be_high(tmp_path):
    phases = [
        {"evaluated": {"reasoning": questions(c), "stereoset": pairs(EVEN)}} for c in (ALL, EVEN)
    ]
    runs = [write_run(tmp_path / n, p, recipe=None) for n, p in zip("ab", phases, strict=True)]
    compared = compare(runs)
    found = only(compared, ("reasoning", "greedy", "accuracy", "overall"))
    assert found.difference == -50
    assert found.winner == "a"
    damage = next(s for s in compared.sections if s.title == "Damage")
    assert [column.title for column in damage.columns] == ["Reasoning accuracy"]
    assert damage.columns[0].cells["a"].is_best


def test_change_of_lms_is_the_paired_difference_to_the_base(tmp_path):
    before = {"stereoset": pairs(ALL, [2] * 40)}
    after = {"stereoset": pairs(EVEN, [2] * 30 + [1] * 10)}
    compared = compare([write_run(tmp_path / "a", {"before": before, "after": after})])
    columns = {column.title: column for column in compared.sections[0].columns}
    change = columns["ΔLMS"].cells
    assert change["a"].value == -12.5
    assert change["a"].ci_low < -12.5 < change["a"].ci_high < 0
    assert (change["base"].value, change["base"].unit) == (0, "points")
    assert "oracle" not in change


def test_the_oracle_is_shown_and_not_compared(tmp_path):
    phases = {"before": ALL, "after": EVEN, "oracle": EVEN}
    scores = {phase: {"stereoset": pairs(p)} for phase, p in phases.items()}
    compared = compare([write_run(tmp_path / "a", scores)])
    assert compared.sections[0].columns[-2].cells.keys() >= {"base", "a"}
    assert "oracle" in next(c for c in compared.sections[0].columns if c.title == "overall").cells
    assert {c.second for c in compared.outcome.comparisons} == {"a"}


def test_items_without_a_counterpart_are_left_out_and_counted(tmp_path):
    runs = [evaluated(tmp_path / "a", ALL), evaluated(tmp_path / "b", EVEN[:30])]
    compared = compare(runs)
    assert only(compared).n == 30
    assert [o.why for o in compared.left_out] == [
        "items without a counterpart (a: 10 of 40 left out, b: 0 of 30 left out)"
    ]


@pytest.mark.parametrize("change", [{"variant": "intrasentence-prefix"}, {"num_tokens": 3.0}])
def test_runs_without_a_common_item_are_refused(tmp_path, change):
    other = {"evaluated": {"stereoset": pairs(EVEN, **change)}}
    runs = [evaluated(tmp_path / "a", EVEN), write_run(tmp_path / "b", other, recipe=None)]
    with pytest.raises(DataError, match=r"stereoset: the models share no item \(a: 40 of 40"):
        compare(runs)


def test_other_data_are_refused(tmp_path):
    other = DATA.model_copy(update={"sha256": "f" * 64})
    runs = [evaluated(tmp_path / "a", EVEN), evaluated(tmp_path / "b", EVEN, data=other)]
    with pytest.raises(DataError, match=r"different data: .*a on .* and .*b on .*ffffffffffff"):
        compare(runs)


def test_another_base_is_refused_and_another_scored_model_is_told(tmp_path):
    other = MODEL.model_copy(update={"fingerprint": "e" * 64, "name_or_path": "other"})
    start = unlearned(tmp_path / "a", ALL, EVEN)
    with pytest.raises(DataError, match=r"start from different models: .*other \(fingerprint eee"):
        compare([start, unlearned(tmp_path / "b", ALL, EVEN, model=other)])
    notes = compare([start, evaluated(tmp_path / "c", EVEN, model=other)]).lineup.notes
    assert len(notes) == 1
    assert notes[0].startswith("c scores other, whose weights are not those of")


def test_a_base_that_was_measured_otherwise_is_told(tmp_path):
    runs = [unlearned(tmp_path / "a", ALL, EVEN), unlearned(tmp_path / "b", shares(9), EVEN)]
    (note,) = compare(runs).lineup.notes
    assert note.startswith("b measured the base otherwise than a in")


def test_a_run_that_was_cut_off_is_refused(tmp_path):
    cut = write_run(tmp_path / "b", {"before": {"stereoset": pairs(ALL)}})
    with pytest.raises(DataError, match=r"no finished run \(phases: before\); go on .* --resume"):
        compare([unlearned(tmp_path / "a", ALL, EVEN), cut])


def test_one_run_is_compared_with_its_base_or_refused(tmp_path):
    assert only(compare([unlearned(tmp_path / "a", ALL, EVEN)])).winner == "a"
    with pytest.raises(ConfigError, match="name a second run"):
        compare([evaluated(tmp_path / "b", EVEN)])
    with pytest.raises(ConfigError, match="named twice"):
        compare([tmp_path / "a", tmp_path / "b" / ".." / "a"])


def test_samples_that_contradict_the_record_are_refused(tmp_path):
    runs = [evaluated(tmp_path / "a", EVEN), evaluated(tmp_path / "b", EVEN)]
    write_samples(runs[1], "evaluated", "stereoset", pairs(ALL))
    with pytest.raises(
        DataError, match=r"b: the samples of stereoset give .*ss.overall 100 and .* 50"
    ):
        compare(runs)


def test_an_output_folder_must_be_new(tmp_path):
    run = unlearned(tmp_path / "a", ALL, EVEN)
    with pytest.raises(ConfigError, match="already holds something"):
        compare([run], output_dir=run)


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["/x/a", "/x/b"], ["a", "b"]),
        (["/x/a/run", "/x/b/run", "/x/c"], ["a/run", "b/run", "c"]),
        (["/x/base", "/x/oracle"], ["x/base", "x/oracle"]),
    ],
)
def test_names_are_the_shortest_that_tell_the_runs_apart(folders, names):
    assert names_of([Path(f) for f in folders]) == names


bits = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=6, max_size=14)


@settings(max_examples=15, deadline=None)
@given(bits)
def test_the_order_of_the_runs_turns_the_sign_alone(rows):
    one, other = ([int(row[i]) for row in rows] for i in (0, 1))
    with tempfile.TemporaryDirectory() as folder:
        a, b = evaluated(Path(folder) / "a", one), evaluated(Path(folder) / "b", other)
        there, back = compare([a, b]), compare([b, a])
    for c in there.outcome.comparisons:
        (d,) = back.outcome.of(c.key)
        assert (c.first, c.second) == (d.second, d.first)
        assert d.difference == -c.difference
        assert (d.p_value, d.p_adjusted, d.winner) == (c.p_value, c.p_adjusted, c.winner)
        if c.ci_low is not None:
            assert np.allclose((-d.ci_high, -d.ci_low), (c.ci_low, c.ci_high))
