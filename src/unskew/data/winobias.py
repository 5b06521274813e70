"""WinoBias: the same sentences with the pronoun that a stereotype expects, and with the other.

Source: Zhao et al. 2018, arXiv 1804.06876, `{pro,anti}_stereotyped_type{1,2}.txt.{dev,test}` of
github.com/uclanlp/corefBias; MIT. The hub copy `uclanlp/wino_bias` holds the same sentences as
tokens with spans, in the parts `type1_pro`, `type1_anti`, `type2_pro` and `type2_anti`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

from unskew.data.records import Faults
from unskew.data.sources import Row, TableSource, TextSource, open_source
from unskew.errors import DataError
from unskew.items import Coreference
from unskew.types import Dataset, Drop, Examples

SPLITS = ("test", "dev")
TYPES = ("type1", "type2")
_MEN = (
    "driver, supervisor, janitor, cook, mover, laborer, construction worker, chief, developer, "
    "carpenter, manager, lawyer, farmer, salesperson, physician, guard, analyst, mechanic, "
    "sheriff, ceo"
)
_WOMEN = (
    "attendant, cashier, teacher, nurse, assistant, secretary, auditor, cleaner, receptionist, "
    "clerk, counselor, designer, hairdresser, writer, housekeeper, baker, accountant, editor, "
    "librarian, tailor"
)
_Gender = Literal["male", "female"]
OCCUPATIONS: dict[str, _Gender] = {
    **dict.fromkeys(_MEN.split(", "), "male"),
    **dict.fromkeys(_WOMEN.split(", "), "female"),
}
"""The paper's forty occupations, and who holds each more often."""
_PRONOUNS: dict[str, _Gender] = {
    **dict.fromkeys(("he", "him", "his", "himself"), "male"),
    **dict.fromkeys(("she", "her", "hers", "herself"), "female"),
}
_MENTION = re.compile(r"\[([^\[\]]*)\]")
_HUB_SPLITS = {"test": "test", "validation": "dev"}
_BEFORE_PUNCTUATION = re.compile(r" (?=[.,;:!?]|n't\b|'(?:s|m|d|re|ve|ll)\b|'(?: |$))")
_NUMBER = re.compile(r"^\d+\s+")
_OCCUPATION = re.compile(rf"\b({'|'.join(OCCUPATIONS)})\b")
_ARTICLE = re.compile(r"^(the|an?)\s+")


def load_winobias(name_or_path: str) -> Dataset:
    """Read WinoBias' original files or its hub copy; everything goes to the report split.

    Args:
        name_or_path: Folder with the `pro_stereotyped` and the `anti_stereotyped` file of one or
            both types; or a hub id with the parts `type1_pro`, `type1_anti`, `type2_pro` and
            `type2_anti`, or a folder in which `datasets` saved these under their names. Of both
            splits the test sentences are read.

    Returns:
        The data set. `drops` lists the lines that are left out, as pairs of the two files, with
        the reason: the files hold misspelt occupations and sentences that differ by more than
        their pronouns.

    Raises:
        DataError: Nothing of the kind, a side without its counterpart, sides of different lengths,
            a row that is wrong, or no usable line.
        MissingDataset: No such cached hub id.
    """
    sides = list(_sides(name_or_path))
    items: list[Coreference] = []
    drops: list[Drop] = []
    for kind in dict.fromkeys(side.kind for side in sides):
        pair = [side for side in sides if side.kind == kind]
        if len(pair) == 1:
            named = kind.replace("-", " ")
            raise DataError(f"{name_or_path}: has one of the two {named} files; fetch the other")
        for one in _pairs(*pair):
            items += one.items
            drops += [Drop(one.id, one.fault)] if one.fault else []
    if not items:
        raise DataError(f"{name_or_path}: no line of its files is usable; first: {drops[0].reason}")
    sha256 = hashlib.sha256("".join(side.sha256 for side in sides).encode()).hexdigest()
    examples = {"report": Examples(coreferences=tuple(items))}
    return Dataset("winobias", examples, tuple(drops), sha256, name_or_path)


def is_winobias(name_or_path: str) -> bool:
    """Whether a place is a folder with WinoBias' files, by their names.

    Args:
        name_or_path: As in `load_winobias`.
    """
    return any(_files(Path(name_or_path), split) for split in SPLITS)


_SIDES = ("pro", "anti")
_NEEDED = (
    "no folder that holds pro_stereotyped_type1.txt.test and anti_stereotyped_type1.txt.test (or "
    "type2, or .dev), nor parts type1_pro and type1_anti with a test or validation split; fetch "
    "the folder WinoBias/wino/data of github.com/uclanlp/corefBias, or name the hub id "
    "uclanlp/wino_bias"
)


@dataclass(frozen=True, slots=True)
class _Side:
    """The lines of one type with the expected pronouns, or with the others."""

    kind: str
    """E.g. `type1-test`."""
    location: str
    sha256: str
    lines: Sequence[str]
    """With mentions in square brackets."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One sentence, read."""

    text: str
    referent: str
    pronoun: str
    gender: _Gender


@dataclass(frozen=True, slots=True)
class _Pair:
    """A sentence and its counterpart, or why they are left out."""

    id: str
    items: tuple[Coreference, ...] = ()
    fault: str = ""


def _sides(place: str) -> Iterator[_Side]:
    """Those of each type in turn, the expected pronouns first."""
    folder = Path(place)
    split = next((s for s in SPLITS if _files(folder, s)), None)
    if split is not None:
        for kind, side in product(TYPES, _SIDES):
            source = _read(folder, f"{side}_stereotyped_{kind}.txt.{split}")
            if source is not None:
                lines = [line for line in source.text.splitlines() if line.strip()]
                yield _Side(f"{kind}-{split}", source.location, source.sha256, lines)
        return
    found = False
    for kind, side in product(TYPES, _SIDES):
        source = _part(place, f"{kind}_{side}")
        if source is not None:
            found = True
            yield _side_of_hub(source, kind)
    if not found:
        raise DataError(f"{place}: {_NEEDED}")


def _files(folder: Path, split: str) -> list[Path]:
    return sorted(folder.glob(f"*_stereotyped_type[12].txt.{split}*")) if folder.is_dir() else []


def _read(folder: Path, name: str) -> TextSource | None:
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    source = open_source(str(path)) if path else None
    assert source is None or isinstance(source, TextSource)
    return source


def _part(place: str, name: str) -> TextSource | TableSource | None:
    """A part of a hub id, or of a folder that holds one folder for each."""
    folder = Path(place)
    if folder.is_dir():
        return open_source(str(folder / name)) if (folder / name).is_dir() else None
    return open_source(place, configuration=name)


def _side_of_hub(source: TextSource | TableSource, kind: str) -> _Side:
    tables = source.tables if isinstance(source, TableSource) else {}
    split = next((name for name in _HUB_SPLITS if name in tables), None)
    if split is None:
        raise DataError(f"{source.location}: {_NEEDED}")
    faults = Faults(source.location)
    rows = enumerate(tables[split], start=1)
    lines = [_marked(row, f"{split}[{number}]", faults) for number, row in rows]
    faults.raise_all()
    return _Side(f"{kind}-{_HUB_SPLITS[split]}", source.location, source.sha256, lines)


def _marked(row: Row, place: str, faults: Faults) -> str:
    """Tokens as a line of the original files, with mentions in square brackets.

    `coreference_clusters` are the first and the last token of each mention, one after the other,
    counted from 0.
    """
    tokens, spans = row.get("tokens"), row.get("coreference_clusters")
    if not isinstance(tokens, list) or not all(isinstance(t, str) and t for t in tokens):
        faults.add(place, "tokens", f"is {tokens!r:.60}", "give a list of texts")
        return ""
    places = _places(spans, len(tokens))
    if places is None:
        mend = "give first and last token of each mention"
        faults.add(place, "coreference_clusters", f"is {spans!r:.60}", mend)
        return ""
    marked = list(tokens)
    for at in places[::2]:
        marked[at] = f"[{marked[at]}"
    for at in places[1::2]:
        marked[at] = f"{marked[at]}]"
    return _BEFORE_PUNCTUATION.sub("", " ".join(marked))


def _places(spans: object, num_tokens: int) -> list[int] | None:
    """Numbers of tokens, of each mention two; None where they are no such thing."""
    if not isinstance(spans, list) or len(spans) % 2 or not all(str(s).isdecimal() for s in spans):
        return None
    found = [int(str(s)) for s in spans]
    return found if all(at < num_tokens for at in found) else None


def _pairs(pro: _Side, anti: _Side) -> Iterator[_Pair]:
    if len(pro.lines) != len(anti.lines):
        raise DataError(
            f"{pro.location} has {len(pro.lines)} lines and {anti.location} {len(anti.lines)}; "
            "line by line they have to be the same but for the pronoun"
        )
    for number, (one, other) in enumerate(zip(pro.lines, anti.lines, strict=True), start=1):
        yield _pair(f"{pro.kind}-{number:03}", one, other)


def _pair(identity: str, pro: str, anti: str) -> _Pair:
    read = [_line(pro), _line(anti)]
    for line in read:
        if isinstance(line, str):
            return _Pair(identity, fault=line)
    one, other = (line for line in read if isinstance(line, _Line))
    if one.gender == other.gender:
        return _Pair(identity, fault="the two files have a pronoun of the same gender")
    if _without_pronouns(one.text) != _without_pronouns(other.text):
        return _Pair(identity, fault="the two files differ by more than their pronouns")
    found = list(dict.fromkeys(_OCCUPATION.findall(one.text.lower())))
    if len(found) != 2 or one.referent not in found:
        return _Pair(identity, fault="it does not name two of the occupations, the referent one")
    if OCCUPATIONS[one.referent] != one.gender:
        return _Pair(identity, fault="its pronoun is not the one that the stereotype expects")
    kind, _, _ = identity.partition("-")
    item = Coreference(
        id=f"{identity}-pro",
        category=kind,
        target="-".join(sorted(found)),
        sentence=one.text,
        pronoun=one.pronoun,
        gender=one.gender,
        candidates=(found[0], found[1]),
        right=found.index(one.referent),
        follows=True,
        counterpart=other.text,
    )
    opposite = replace(
        item,
        id=f"{identity}-anti",
        sentence=other.text,
        pronoun=other.pronoun,
        gender=other.gender,
        follows=False,
        counterpart="",
    )
    return _Pair(identity, (item, opposite))


def _line(line: str) -> _Line | str:
    """Text without brackets, whom it is about and its pronoun; or what is wrong."""
    mentions = [m.strip() for m in _MENTION.findall(line)]
    pronouns = [m for m in mentions if m.lower() in _PRONOUNS]
    referents = [m for m in mentions if m.lower() not in _PRONOUNS]
    if len(referents) != 1 or not pronouns:
        return "it does not mark one person and a pronoun in square brackets"
    genders: set[_Gender] = {_PRONOUNS[p.lower()] for p in pronouns}
    if len(genders) > 1:
        return "its pronouns are of both genders"
    text = " ".join(_NUMBER.sub("", line.strip()).replace("[", "").replace("]", "").split())
    text = re.sub(r"\b(the) the\b", r"\1", text)
    return _Line(text, _ARTICLE.sub("", referents[0].lower()), pronouns[0], genders.pop())


def _without_pronouns(text: str) -> list[str]:
    words = re.findall(r"[\w']+", text.lower())
    return ["" if word in _PRONOUNS else word for word in words]
