"""What a comparison found, as one object that every rendering reads."""

from __future__ import annotations

from dataclasses import dataclass

from unskew.comparison.contest import Key, Outcome
from unskew.comparison.lineup import Lineup
from unskew.comparison.table import Section, standing
from unskew.comparison.tradeoff import Reading
from unskew.reports.record import NotMeasured
from unskew.types import OVERALL

__all__ = ["Compared", "Tested"]


@dataclass(frozen=True, slots=True)
class Tested:
    """An overall number of the table that was compared."""

    title: str
    aim: str
    key: Key


@dataclass(frozen=True, slots=True)
class Compared:
    """Runs beside each other."""

    lineup: Lineup
    outcome: Outcome
    sections: tuple[Section, ...]
    readings: tuple[Reading, ...]
    left_out: tuple[NotMeasured, ...]
    """Benchmarks and items that could not be compared, with counts."""
    baseline: str | None
    """The one the others were held against; None for every pair."""
    seed: int

    @property
    def names(self) -> list[str]:
        """The compared models in the order of the table, the base first."""
        return [entrant.name for entrant in self.lineup.compared]

    @property
    def places(self) -> dict[str, int]:
        """Place of each run among the runs; colours go by it."""
        return {run.name: place for place, run in enumerate(self.lineup.runs)}

    def tested(self, *, overall: bool = True) -> list[Tested]:
        """The columns of the table that have comparisons.

        Args:
            overall: Those over all categories; else those of single categories.
        """
        return [
            Tested(": ".join(filter(None, (section.short, column.title))), column.aim, column.key)
            for section in self.sections
            for column in section.columns
            if column.key is not None
            and (column.key[3] == OVERALL) == overall
            and self.outcome.of(column.key)
        ]

    def standing(self, key: Key) -> str:
        """Who won in one metric, in words."""
        return standing(self.outcome, key, self.names)
