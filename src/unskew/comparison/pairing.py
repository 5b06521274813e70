"""The scores of the examples that all compared models answered, item by item."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from unskew.benchmarks import BENCHMARKS
from unskew.comparison.lineup import Entrant, Lineup
from unskew.errors import DataError
from unskew.reports.record import NotMeasured
from unskew.reports.storage import read_samples, samples_path
from unskew.types import SampleScore

__all__ = ["Shared", "shared_scores"]


@dataclass(frozen=True, slots=True)
class Shared:
    """Scores of one benchmark on the items that all who measured it share."""

    label: str
    """Name of the benchmark, with its reference where it has one."""
    benchmark: Any
    """Its class."""
    scores: Mapping[str, list[SampleScore]]
    """By name of the model; those that did not measure it are absent."""
    whole: frozenset[str]
    """Names of the models of which no item was left out."""


def shared_scores(lineup: Lineup) -> tuple[list[Shared], list[NotMeasured]]:
    """Read and pair the stored scores.

    Items are the same where id, category, target, variants and, where it was counted, the number
    of tokens agree.

    Returns:
        Paired scores, and what was left out, with counts.

    Raises:
        DataError: A samples file cannot be read, or no benchmark can be compared.
    """
    found: list[Shared] = []
    left_out: list[NotMeasured] = []
    labels = dict.fromkeys(label for entrant in lineup.compared for label in _labels(entrant))
    for label in sorted(labels):
        benchmark = _benchmark(label)
        if benchmark is None:
            why = "no such benchmark here, or one that cannot aggregate stored scores"
            left_out.append(NotMeasured(what=label, why=why))
            continue
        stored = {
            entrant.name: read_samples(entrant.folder, entrant.phase, label)
            for entrant in lineup.shown
            if samples_path(entrant.folder, entrant.phase, label).is_file()
        }
        shared, why = _pair(label, benchmark, stored)
        if why:
            left_out.append(NotMeasured(what=label, why=why))
        if shared is not None:
            found.append(shared)
    if not any(len(shared.scores) > 1 for shared in found):
        raise DataError(
            "the runs have no scores of the same examples to compare: "
            + ("; ".join(f"{o.what}: {o.why}" for o in left_out) or "their samples/ are empty")
        )
    return found, left_out


def _labels(entrant: Entrant) -> list[str]:
    # The name of the file is `PHASE-BENCHMARK.jsonl`, each percent-encoded.
    some = samples_path(entrant.folder, entrant.phase, "*").name.removesuffix("%2A.jsonl")
    files = (entrant.folder / "samples").glob("*.jsonl")
    return [unquote(f.stem.removeprefix(some)) for f in files if f.stem.startswith(some)]


def _benchmark(label: str) -> Any:
    names = [name for name in BENCHMARKS if label == name or label.startswith(f"{name}-")]
    benchmark = BENCHMARKS.load(max(names, key=len)) if names else None
    return benchmark if hasattr(benchmark, "differences") else None


def _pair(
    label: str, benchmark: Any, stored: Mapping[str, list[SampleScore]]
) -> tuple[Shared | None, str]:
    keyed = {name: {_item(benchmark, s): s for s in scores} for name, scores in stored.items()}
    common = set.intersection(*(set(scores) for scores in keyed.values()))
    told = _counts(((name, len(scores), len(common)) for name, scores in keyed.items()))
    if not common:
        return None, f"the models share no item ({told})"
    whole = frozenset(name for name, scores in keyed.items() if len(scores) == len(common))
    kept = {name: [s for item, s in own.items() if item in common] for name, own in keyed.items()}
    why = "" if len(whole) == len(keyed) else f"items without a counterpart ({told})"
    return Shared(label, benchmark, kept, whole), why


def _item(benchmark: Any, score: SampleScore) -> Hashable:
    tokens = score.values.get("num_tokens")
    return score.id, score.category, score.target, benchmark.variants(score), tokens


def _counts(sizes: Iterable[tuple[str, int, int]]) -> str:
    return ", ".join(f"{name}: {total - kept} of {total} left out" for name, total, kept in sizes)
