"""`unskew check`: requirements on the numbers of a run, for CI systems.

What was not measured does not meet a requirement: a gate that a missing number could pass is none.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unskew.errors import ConfigError
from unskew.files import write_text
from unskew.registry import nearest
from unskew.reports.findings import AFTER, BEFORE, final_phase
from unskew.reports.record import MetricRow, RunRecord

__all__ = ["Gate", "Requirement", "check", "junit"]

DELTA = "delta"
_FORM = "[PHASE.]BENCHMARK[.VARIANT].METRIC.CATEGORY in [A,B], or >=, <=, > or < with a number"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_WITHIN = re.compile(
    rf"(?P<name>\S.*?)\s+in\s*\[\s*(?P<low>{_NUMBER})\s*,\s*(?P<high>{_NUMBER})\s*\]"
)
_BOUND = re.compile(rf"(?P<name>[^<>=]*[^<>=\s])\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>{_NUMBER})")

Verdict = Literal["met", "not met", "not measured"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """A range that a number of a run must lie in.

    Args:
        text: As it was given.
        name: Dotted place of the number.
        low: Smallest value allowed.
        high: Largest value allowed.
        is_open: Whether the ends themselves are not allowed.
    """

    text: str
    name: str
    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read e.g. `stereoset.ss.overall in [47,53]` or `after.reasoning.accuracy.overall >= 95`.

        Raises:
            ConfigError: It is not of that form, or nothing can lie in the range.
        """
        stripped = text.strip()
        if found := _WITHIN.fullmatch(stripped):
            low, high = float(found["low"]), float(found["high"])
            if low > high:
                raise ConfigError(f"--require {text!r}: {low:g} lies above {high:g}")
            made = cls(text, found["name"], low, high)
        elif found := _BOUND.fullmatch(stripped):
            sign, bound = found["sign"], float(found["bound"])
            ends = (bound, math.inf) if sign.startswith(">") else (-math.inf, bound)
            made = cls(text, found["name"], *ends, is_open=sign in ("<", ">"))
        else:
            raise ConfigError(f"--require {text!r} is not of the form {_FORM}")
        words = made.name.split(".")
        if len(words) < 3 or not all(words):
            raise ConfigError(f"--require {text!r}: {made.name!r} is not of the form {_FORM}")
        return made

    def allows(self, value: float) -> bool:
        """Whether the value lies in the range."""
        if self.is_open:
            return self.low < value < self.high
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Gate:
    """A requirement and what the run says to it."""

    requirement: Requirement
    verdict: Verdict
    found: str
    """The numbers, or why there is none."""

    @property
    def line(self) -> str:
        """For a reader."""
        return f"{self.verdict}: {self.requirement.text.strip()} ({self.found})"


def check(run: str | Path, requirements: Sequence[str]) -> list[Gate]:
    """Hold the record of a run against requirements.

    A number without a phase is of the run's model after, or of the only phase of a scoring;
    `delta` is after minus before. Without a variant the requirement must hold in every variant.

    Args:
        run: Folder of a run.
        requirements: Each as `Requirement.parse` reads it.

    Raises:
        ConfigError: No requirement, or one that cannot be read.
        DataError: The record cannot be read.
    """
    if not requirements:
        raise ConfigError("nothing is required; give at least one --require")
    parsed = [Requirement.parse(text) for text in requirements]
    record = RunRecord.load(Path(run))
    known = _numbers(record)
    return [_gate(requirement, known, record) for requirement in parsed]


@dataclass(frozen=True, slots=True)
class _Number:
    value: float
    unit: str
    variant: str


def _numbers(record: RunRecord) -> dict[str, list[_Number]]:
    """Every name that a requirement may use, and its numbers, one for each variant."""
    known: dict[str, list[_Number]] = {}
    default = final_phase(record)
    rows = record.find(category=None, split="report")
    before = {_place(row): row for row in rows if row.phase == BEFORE}
    for row in rows:
        number = _Number(row.value, row.unit, row.variant)
        _add(known, row, row.phase, number)
        if row.phase == default:
            _add(known, row, None, number)
        old = before.get(_place(row))
        if row.phase == AFTER and old is not None:
            unit = "points" if row.unit == "%" else row.unit
            _add(known, row, DELTA, _Number(row.value - old.value, unit, row.variant))
    return known


def _place(row: MetricRow) -> tuple[str, ...]:
    return row.benchmark, row.variant, row.metric, row.category


def _add(known: dict[str, list[_Number]], row: MetricRow, phase: str | None, n: _Number) -> None:
    first = () if phase is None else (phase,)
    variants = [(), (row.variant,)] if row.variant else [()]
    for variant in variants:
        words = (*first, row.benchmark, *variant, row.metric, row.category)
        known.setdefault(".".join(words), []).append(n)


def _gate(requirement: Requirement, known: dict[str, list[_Number]], record: RunRecord) -> Gate:
    numbers = known.get(requirement.name, [])
    if not numbers:
        cut_off = "; the run is not finished" if final_phase(record) is None else ""
        hint = nearest(requirement.name, known)
        return Gate(requirement, "not measured", f"the run has no such number{cut_off}{hint}")
    # All digits that matter: 46.96 rounded to 47.0 would seem to meet a bound of 47.
    told = ", ".join(f"{n.variant} {n.value:.6g} {n.unit}".strip() for n in numbers)
    is_met = all(requirement.allows(n.value) for n in numbers)
    return Gate(requirement, "met" if is_met else "not met", told)


def junit(gates: Sequence[Gate], run: str | Path, target: Path) -> Path:
    """Write the gates as a JUnit XML file, one test case each.

    Args:
        gates: What `check` returned.
        run: Folder of the run, the class name of the cases.
        target: The file.

    Raises:
        StorageError: It could not be written.
    """
    failed = [gate for gate in gates if gate.verdict != "met"]
    counts = {"tests": str(len(gates)), "failures": str(len(failed)), "errors": "0"}
    suites = ET.Element("testsuites", counts)
    suite = ET.SubElement(suites, "testsuite", {"name": "unskew check", **counts, "skipped": "0"})
    for gate in gates:
        named = {"classname": _plain(str(run)), "name": _plain(gate.requirement.text.strip())}
        case = ET.SubElement(suite, "testcase", named)
        if gate.verdict != "met":
            told = {"message": _plain(f"{gate.verdict}: {gate.found}"), "type": gate.verdict}
            ET.SubElement(case, "failure", told)
        else:
            ET.SubElement(case, "system-out").text = _plain(gate.found)
    ET.indent(suites)
    text = ET.tostring(suites, encoding="unicode")
    return write_text(target, f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n')


def _plain(text: str) -> str:
    # Control characters may not stand in XML.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
