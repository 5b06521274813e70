"""Table and folder agree both ways, and every part keeps its contract."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from unskew import protocols, rating
from unskew.benchmarks import BENCHMARKS
from unskew.classifiers import CLASSIFIERS
from unskew.controllers import CONTROLLERS
from unskew.decoders import DECODERS
from unskew.edits import EDITS, PROJECTIONS
from unskew.objectives import OBJECTIVES
from unskew.registry import Table
from unskew.saliency import SALIENCIES
from unskew.updates import SCOPES, UPDATES
from unskew.updates.scope import Scope

CONTRACTS: list[tuple[Table, type]] = [
    (OBJECTIVES, protocols.Objective),
    (UPDATES, protocols.UpdateRule),
    (SCOPES, Scope),
    (CONTROLLERS, protocols.Controller),
    (BENCHMARKS, protocols.Benchmark),
    (SALIENCIES, protocols.Saliency),
    (EDITS, protocols.Edit),
    (PROJECTIONS, protocols.Projector),
    (DECODERS, protocols.Decoder),
    (CLASSIFIERS, rating.Classifier),
]
HELPERS = {
    "controllers.checkpoint_choice",
    "edits.evenness",
    "edits.malmen",
    "saliency.choice",
    "saliency.group_fairness",
}
"""Modules that are no part and yet stand among them: asked by the loop or the assembly."""

ENTRIES = [
    pytest.param(table, contract, name, id=f"{table.kind}-{name}")
    for table, contract in CONTRACTS
    for name in table.built_in
]


def _members(contract: type) -> set[str]:
    own = set(vars(contract)) | set(getattr(contract, "__annotations__", {}))
    return {m for m in own if not m.startswith("_")} | ({"__call__"} & set(vars(contract)))


@pytest.mark.parametrize(("table", "contract", "name"), ENTRIES)
def test_entries_load_and_keep_their_contract(table, contract, name):
    part = table.load(name)
    assert inspect.isclass(part)
    offered = set(dir(part)) | set(inspect.get_annotations(part)) | _assigned(part)
    assert _members(contract) <= offered
    for member in _members(contract):
        wanted, given = getattr(contract, member, None), getattr(part, member, None)
        if inspect.isfunction(wanted) and inspect.isfunction(given):
            names = [list(inspect.signature(f).parameters) for f in (wanted, given)]
            assert names[0] == names[1][: len(names[0])], member
    assert part.__doc__


def _assigned(part: type) -> set[str]:
    """Attributes that `__init__` sets."""
    return set(part.__init__.__code__.co_names) if "__init__" in vars(part) else set()


@pytest.mark.parametrize(("table", "contract", "name"), ENTRIES)
def test_a_name_is_its_file_or_its_class(table: Table, contract: type, name: str):
    module, _, attribute = table.built_in[name].partition(":")
    assert module.startswith("unskew.")
    stem = module.rpartition(".")[2]
    words = {stem.replace("_", ""), name.replace("_", "")}
    assert len(words) == 1 or any(word in attribute.lower() for word in words)


@pytest.mark.parametrize(
    "room",
    [
        "objectives",
        "updates",
        "controllers",
        "benchmarks",
        "saliency",
        "edits",
        "decoders",
        "classifiers",
    ],
)
def test_every_module_is_in_its_table(room):
    package: Any = import_module(f"unskew.{room}")
    listed = {
        entry.partition(":")[0]
        for table, _ in CONTRACTS
        for entry in table.built_in.values()
        if entry.startswith(package.__name__)
    }
    present = {
        f"unskew.{room}.{p.stem}"
        for p in Path(package.__path__[0]).glob("*.py")
        if not p.stem.startswith("_") and f"{room}.{p.stem}" not in HELPERS
    }
    assert present == listed
