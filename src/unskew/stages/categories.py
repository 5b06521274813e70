"""Whether the weights that carry the bias are the same for every bias type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from unskew.data.rows import in_drawn_order
from unskew.errors import DataError
from unskew.hub.saliency import StoredSaliency
from unskew.models.selection import Masks, select
from unskew.reports.selection_record import (
    CategoryComparison,
    CategoryOverlap,
    CategoryShare,
)
from unskew.saliency.group_fairness import (
    MIN_ROWS,
    GroupOverlap,
    GroupSaliency,
    Scores,
    coverage,
    entanglement,
    group_overlaps,
)
from unskew.types import Pair, Segment

Draws = Mapping[str, tuple[list[Segment], list[Segment]]]
"""Two draws of rows of each bias type, without a row in common."""


def category_rows(pairs: Sequence[Pair], wanted: int, seed: int, path: str) -> Draws:
    """Equally many stereotypes of every bias type that has enough, twice.

    Args:
        pairs: To draw from.
        wanted: Rows in each draw; fewer, where the smallest type does not have twice as many.
        seed: Another one draws others.
        path: Dotted path of the setting, for messages.

    Raises:
        DataError: Fewer than two bias types have twice `MIN_ROWS` pairs.
    """
    by_category: dict[str, list[Pair]] = {}
    for pair in in_drawn_order(pairs, seed):
        by_category.setdefault(pair.category, []).append(pair)
    enough = {c: p for c, p in sorted(by_category.items()) if len(p) >= 2 * MIN_ROWS}
    if len(enough) < 2:
        counts = ", ".join(f"{c} {len(p)}" for c, p in sorted(by_category.items()))
        raise DataError(
            f"{path}: bias types are compared on two draws of {MIN_ROWS} pairs each, and fewer "
            f"than two types have them ({counts}); leave it out"
        )
    size = min(max(wanted, MIN_ROWS), *(len(p) // 2 for p in enough.values()))
    return {
        category: (_rows(members[:size]), _rows(members[size : 2 * size]))
        for category, members in enough.items()
    }


def _rows(pairs: Sequence[Pair]) -> list[Segment]:
    return [Segment(p.stereotype, p.completion_start) for p in pairs]


@dataclass(frozen=True, slots=True)
class Categories:
    """The bias types of a saliency stage."""

    folder: Path
    """Where the saliency of each draw is kept."""
    draws: Draws
    """Empty, where nothing is to be compared."""

    def rows(self) -> dict[Path, list[Segment]]:
        """The rows of each draw, by the folder of its saliency."""
        return {
            self.folder / f"{category}-{number}": rows
            for category, draws in enumerate(self.draws.values())
            for number, rows in enumerate(draws)
        }

    def compared(
        self, fraction: float, masks: Masks, reason: Scores | None
    ) -> CategoryComparison | None:
        """Overlap of every two bias types, and how each lies to the chosen weights.

        Args:
            fraction: Share of each tensor's weights that counts as top, in (0, 1].
            masks: The weights that were chosen.
            reason: Saliency for what is to be kept.

        Raises:
            ArtifactError: The saliency of a draw is not there.
        """
        if not self.draws:
            return None
        stored = map(StoredSaliency, self.rows())
        num_rows = len(next(iter(self.draws.values()))[0])
        groups = {c: GroupSaliency(next(stored), num_rows, (next(stored),)) for c in self.draws}
        shares = [_share(c, g, fraction, masks, reason) for c, g in groups.items()]
        overlaps = [_overlap(found) for found in group_overlaps(groups, fraction)]
        return CategoryComparison(
            num_rows=num_rows, fraction=fraction, shares=shares, overlaps=overlaps
        )


def _share(
    category: str, group: GroupSaliency, fraction: float, masks: Masks, reason: Scores | None
) -> CategoryShare:
    own = select(group.scores, fraction)
    tangled = None if reason is None else entanglement(own, reason, fraction)
    covered = coverage(group.scores, masks)
    return CategoryShare(category=category, coverage=covered, entanglement=tangled)


def _overlap(found: GroupOverlap) -> CategoryOverlap:
    correlations = found.spearman_by_tensor.values()
    return CategoryOverlap(
        first=found.first,
        second=found.second,
        jaccard=found.overlap.jaccard,
        by_chance=found.overlap.by_chance,
        z=found.z,
        spearman=fmean(correlations) if correlations else None,
        ceiling=found.ceiling,
    )
