"""Tables of named parts: name -> "module:attribute", loaded when asked for.

Tables are written out in the `__init__` of each room, so that the catalogue is on one screen and
`unskew list` prints it without importing torch. Other packages add names through the entry-point
group `unskew.<table>`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

from unskew.errors import UnknownName


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'gender'?``, empty where nothing is close.

    Args:
        name: What was given.
        known: What exists.
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


class Table(Mapping[str, str]):
    """A frozen table of one kind of part, e.g. `objectives`.

    Args:
        kind: Plural name of the kind; also the suffix of the entry-point group.
        entries: Name to "module:attribute".
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._built_in = MappingProxyType(dict(entries))

    def _all(self) -> dict[str, str]:
        extensions = {e.name: e.value for e in entry_points(group=f"unskew.{self.kind}")}
        return {**extensions, **self._built_in}

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))

    def __len__(self) -> int:
        return len(self._all())

    @property
    def built_in(self) -> Mapping[str, str]:
        """The entries that come with unskew."""
        return self._built_in

    def load(self, name: str) -> Any:
        """Import and return the part.

        Raises:
            UnknownName: No such name; the message lists all and names the nearest.
        """
        entries = self._all()
        if name not in entries:
            listed = ", ".join(sorted(entries))
            raise UnknownName(
                f"unknown {self.kind.rstrip('s')} {name!r}{nearest(name, entries)} "
                f"(there are: {listed})"
            )
        module, _, attribute = entries[name].partition(":")
        return getattr(import_module(module), attribute)
