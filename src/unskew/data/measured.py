"""Data sets that are measured on and never learned from, by the name of their benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from unskew.data.bbq import is_bbq, load_bbq
from unskew.data.bold import is_bold, load_bold
from unskew.data.fairmt import is_fairmt, load_fairmt
from unskew.data.holistic_bias import is_holistic_bias, load_holistic_bias
from unskew.data.mt_bench import is_mt_bench, load_mt_bench
from unskew.data.seat import is_seat, load_seat
from unskew.data.understanding import LAYOUTS, holds, load_understanding
from unskew.data.winobias import is_winobias, load_winobias
from unskew.data.winogender import is_winogender, load_winogender
from unskew.errors import ConfigError
from unskew.types import Dataset


@dataclass(frozen=True, slots=True)
class Measured:
    """How a data set is recognised and read."""

    holds: Callable[[str], bool]
    """Whether a place holds it, by names of files or the first row."""
    load: Callable[[str], Dataset]
    """Reads a file, a folder or a hub id, all into the report split."""


MEASURED: Mapping[str, Measured] = {
    "bbq": Measured(is_bbq, load_bbq),
    "bold": Measured(is_bold, load_bold),
    "holistic_bias": Measured(is_holistic_bias, load_holistic_bias),
    "seat": Measured(is_seat, load_seat),
    "fairmt": Measured(is_fairmt, load_fairmt),
    "mt_bench": Measured(is_mt_bench, load_mt_bench),
    "winobias": Measured(is_winobias, load_winobias),
    "winogender": Measured(is_winogender, load_winogender),
    **{task: Measured(partial(holds, task), partial(load_understanding, task)) for task in LAYOUTS},
}


def measured_format(name_or_path: str, format: str = "auto") -> str | None:
    """Which of these data sets a place holds; None where it is none of them.

    Args:
        name_or_path: A file, a folder or a hub id.
        format: Name of a data set, `auto` to look, or another format's name.
    """
    if format != "auto":
        return format if format in MEASURED else None
    return next((name for name, one in MEASURED.items() if one.holds(name_or_path)), None)


def refuse_to_learn(name_or_path: str, format: str = "auto") -> None:
    """Refuse one of these data sets as training data.

    Args:
        name_or_path: As in `measured_format`.
        format: As in `measured_format`.

    Raises:
        ConfigError: It is one.
    """
    if found := measured_format(name_or_path, format):
        raise ConfigError(
            f"{name_or_path} holds {found}, to measure on and not to learn from; name other data, "
            f"and this as --benchmarks auto,{found}:{name_or_path}"
        )
