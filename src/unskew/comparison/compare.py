"""`unskew compare`: folders of runs in, one table in five formats out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unskew.comparison.contest import contest
from unskew.comparison.lineup import line_up
from unskew.comparison.page import as_html
from unskew.comparison.pairing import shared_scores
from unskew.comparison.render import as_csv, as_json, as_latex, as_markdown
from unskew.comparison.result import Compared
from unskew.comparison.table import sections
from unskew.comparison.tradeoff import readings
from unskew.errors import ConfigError
from unskew.files import is_taken, write_text

__all__ = ["COMPARED", "FILES", "compare", "place_in"]

COMPARED = "compare"
"""Name of a comparison's folder among the folders of its runs."""

FILES = {
    "compare.html": as_html,
    "compare.md": as_markdown,
    "compare.csv": as_csv,
    "compare.tex": as_latex,
    "compare.json": as_json,
}


def compare(
    runs: Sequence[str | Path],
    *,
    output_dir: str | Path | None = None,
    baseline: str | None = None,
    seed: int = 0,
) -> Compared:
    """Compare finished runs on the same items of the report split, and write the tables.

    A run of `unlearn` or `transfer` stands for its model after, one of `evaluate` for the model
    it scored. The model before takes part as `base`.

    Args:
        runs: Folders of runs that measured on the same data and started from the same model.
        output_dir: A new folder for `compare.html`, `.md`, `.csv`, `.tex` and `.json`; None writes
            nothing.
        baseline: Name or folder of the run, or `base`, that the others are held against; every
            pair if None.
        seed: Of bootstrap and sign-flip test.

    Raises:
        ConfigError: No run, one run twice, a single run without anything to compare it with, an
            unknown baseline, or a folder that is not new.
        DataError: A run is not finished or cannot be read; data or base models differ; no item is
            shared; samples and record of a run do not agree.
        StorageError: A file could not be written.
    """
    folder = None if output_dir is None else Path(output_dir)
    if folder is not None and is_taken(folder):
        raise ConfigError(f"{folder} already holds something; choose another --output-dir")
    lineup = line_up(runs)
    pairs = lineup.pairs(baseline)
    found, left_out = shared_scores(lineup)
    outcome = contest(lineup, found, pairs, seed=seed)
    compared = Compared(
        lineup=lineup,
        outcome=outcome,
        sections=tuple(sections(lineup, outcome)),
        readings=tuple(readings(lineup)),
        left_out=tuple(left_out),
        baseline=None if baseline is None else lineup.named(baseline),
        seed=seed,
    )
    if folder is not None:
        texts = {name: rendered(compared) for name, rendered in FILES.items()}
        for name, text in texts.items():
            write_text(folder / name, text)
    return compared


def place_in(folder: Path) -> Path:
    """Where a new comparison goes beside runs: `compare`, or with a number if that is taken."""
    target, number = folder / COMPARED, 2
    while is_taken(target):
        target, number = folder / f"{COMPARED}-{number}", number + 1
    return target
