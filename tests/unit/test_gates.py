"""Requirements on a record: what is met, what is missing, what cannot be read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.unit.comparison.small_runs import pairs, write_run
from tests.unit.reports.example_record import HOSTILE, example_record
from unskew import cli
from unskew.errors import ConfigError
from unskew.gates import Requirement, check, junit


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """SS 62.7 before and 50.8 after, LMS 92.2 and 92.0, accuracy 98.9 and 98.6."""
    example_record().save(tmp_path)
    return tmp_path


def verdicts(run, *requirements):
    return [gate.verdict for gate in check(run, requirements)]


@pytest.mark.parametrize(
    "text",
    [
        "stereoset.ss.overall in [47,53]",
        "stereoset.intrasentence.ss.overall in [ 50.8 , 50.8 ]",
        "  stereoset.ss.overall  in[-1,1e2]  ",
        "after.stereoset.ss.overall<=50.8",
        "before.stereoset.ss.overall > 62.6",
        "oracle.stereoset.ss.gender < 50.3",
        "delta.stereoset.ss.overall <= -11.8",
        "delta.stereoset.lms.overall >= -0.3",
        "reasoning.accuracy.overall >= 95",
    ],
)
def test_met(run, text):
    assert verdicts(run, text) == ["met"]


@pytest.mark.parametrize(
    "text",
    [
        "stereoset.ss.overall in [51,53]",
        "stereoset.ss.overall < 50.8",
        "stereoset.ss.overall > 50.8",
        "before.stereoset.ss.overall <= 60",
        "delta.stereoset.ss.overall > 0",
    ],
)
def test_not_met(run, text):
    assert verdicts(run, text) == ["not met"]


@pytest.mark.parametrize(
    "text",
    [
        "stereoset.ss.rce in [0,100]",
        "crows_pairs.stereotype_share.overall >= 0",
        "stereoset.intersentence.ss.overall >= 0",
        "delta.crows_pairs.stereotype_share.overall >= 0",
    ],
)
def test_what_was_not_measured_meets_nothing(run, text):
    assert verdicts(run, text) == ["not measured"]


def test_a_misspelt_number_is_told(run):
    (gate,) = check(run, ["stereset.ss.overall >= 1"])
    assert "did you mean 'stereoset.ss.overall'?" in gate.line


def test_digits_that_decide_are_shown(run):
    (gate,) = check(run, ["stereoset.ss.overall < 50.8"])
    assert gate.line == "not met: stereoset.ss.overall < 50.8 (intrasentence 50.8 %)"


def test_without_a_variant_every_variant_must_meet_it(tmp_path):
    even, all_ = pairs([1, 0] * 10), pairs([1] * 20, variant="intersentence")
    later = [type(s)(f"i{s.id}", s.category, s.target, s.values) for s in all_]
    write_run(tmp_path, {"evaluated": {"stereoset": [*even, *later]}}, recipe=None)
    assert verdicts(
        tmp_path,
        "stereoset.ss.overall in [40,60]",
        "stereoset.intrasentence.ss.overall in [40,60]",
        "stereoset.intersentence.ss.overall in [40,60]",
        "evaluated.stereoset.ss.overall >= 50",
    ) == ["not met", "met", "not met", "met"]


def test_a_run_that_was_cut_off_does_not_pass_with_its_base(tmp_path):
    write_run(tmp_path, {"before": {"stereoset": pairs([1, 0] * 10)}})
    (gate,) = check(tmp_path, ["stereoset.ss.overall in [0,100]"])
    assert gate.verdict == "not measured"
    assert "the run is not finished" in gate.found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stereoset.ss.overall",
        "stereoset.ss.overall in [47]",
        "stereoset.ss.overall in [53,47]",
        "stereoset.ss.overall in (47,53)",
        "stereoset.ss.overall == 50",
        "stereoset.ss.overall >= much",
        "stereoset.ss.overall >= nan",
        "stereoset.ss.overall >= 1 or so",
        "ss.overall >= 1",
        "stereoset..ss.overall >= 1",
        ">= 5",
    ],
)
def test_what_cannot_be_read_is_the_users_mistake(text):
    with pytest.raises(ConfigError, match="--require"):
        Requirement.parse(text)


def test_nothing_required_is_a_mistake(run):
    with pytest.raises(ConfigError, match="at least one --require"):
        check(run, [])


def test_junit_counts_and_names_the_failures(run, tmp_path):
    required = ["stereoset.ss.overall < 1", "no.such.number > 1", "stereoset.ss.overall >= 50"]
    file = junit(check(run, required), f"{run}{HOSTILE}", tmp_path / "gates.xml")
    suite = ET.parse(file).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "2", "0")
    assert [case.get("name") for case in suite] == required
    assert [f.get("type") for f in suite.iter("failure")] == ["not met", "not measured"]


@pytest.mark.parametrize(
    ("requirement", "code"),
    [
        ("stereoset.ss.overall in [47,53]", 0),
        ("stereoset.ss.overall in [0,1]", 3),
        ("stereoset.ss.nobody in [0,1]", 3),
        ("stereoset.ss.overall is good", 2),
    ],
)
def test_exit_codes(run, capsys, requirement, code):
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", str(run), "--require", requirement, "--junit", str(run / "j.xml")])
    assert ended.value.code == code
    assert (run / "j.xml").is_file() == (code != 2)
    told = capsys.readouterr()
    assert (told.err if code == 2 else told.out).count("\n") == 1


def test_a_folder_without_a_record_is_the_users_mistake(tmp_path):
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", str(tmp_path), "--require", "a.b.c > 1"])
    assert ended.value.code == 2
