"""WinoBias: the same sentences with the pronoun that a stereotype expects, and with the other.

Source: Zhao et al. 2018, arXiv 1804.06876, `{pro,anti}_stereotyped_type{1,2}.txt.{dev,test}` of
github.com/uclanlp/corefBias; MIT.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from unskew.data.sources import TextSource, open_source
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
_NUMBER = re.compile(r"^\d+\s+")
_OCCUPATION = re.compile(rf"\b({'|'.join(OCCUPATIONS)})\b")
_ARTICLE = re.compile(r"^(the|an?)\s+")


def load_winobias(name_or_path: str) -> Dataset:
    """Read WinoBias' original files; everything goes to the report split.

    Args:
        name_or_path: Folder with the `pro_stereotyped` and the `anti_stereotyped` file of one or
            both types; where it has both `.test` and `.dev`, the test files are read.

    Returns:
        The data set. `drops` lists the lines that are left out, as pairs of the two files, with
        the reason: the files hold misspelt occupations and sentences that differ by more than
        their pronouns.

    Raises:
        DataError: Not a folder, a file without its counterpart, files of different lengths, or no
            usable line.
    """
    folder = Path(name_or_path)
    split = next((s for s in SPLITS if _files(folder, s)), None)
    if split is None:
        raise DataError(
            f"{name_or_path}: no folder that holds pro_stereotyped_type1.txt.test and "
            "anti_stereotyped_type1.txt.test (or type2, or .dev); fetch the folder "
            "WinoBias/wino/data of github.com/uclanlp/corefBias"
        )
    items: list[Coreference] = []
    drops: list[Drop] = []
    digests = []
    for kind in TYPES:
        pair = [_read(folder, f"{side}_stereotyped_{kind}.txt.{split}") for side in _SIDES]
        if pair == [None, None]:
            continue
        pro, anti = pair
        if pro is None or anti is None:
            raise DataError(f"{folder}: has one of the two {kind} {split} files; fetch the other")
        digests += [pro.sha256, anti.sha256]
        for one in _pairs(pro, anti, f"{kind}-{split}"):
            items += one.items
            drops += [Drop(one.id, one.fault)] if one.fault else []
    if not items:
        raise DataError(f"{folder}: no line of its files is usable; first: {drops[0].reason}")
    sha256 = hashlib.sha256("".join(digests).encode()).hexdigest()
    examples = {"report": Examples(coreferences=tuple(items))}
    return Dataset("winobias", examples, tuple(drops), sha256, name_or_path)


def is_winobias(name_or_path: str) -> bool:
    """Whether a place is a folder with WinoBias' files, by their names.

    Args:
        name_or_path: As in `load_winobias`.
    """
    return any(_files(Path(name_or_path), split) for split in SPLITS)


_SIDES = ("pro", "anti")


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


def _files(folder: Path, split: str) -> list[Path]:
    return sorted(folder.glob(f"*_stereotyped_type[12].txt.{split}*")) if folder.is_dir() else []


def _read(folder: Path, name: str) -> TextSource | None:
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    source = open_source(str(path)) if path else None
    assert source is None or isinstance(source, TextSource)
    return source


def _pairs(pro: TextSource, anti: TextSource, kind: str) -> Iterator[_Pair]:
    lines = [[x for x in source.text.splitlines() if x.strip()] for source in (pro, anti)]
    if len(lines[0]) != len(lines[1]):
        raise DataError(
            f"{pro.location} has {len(lines[0])} lines and {anti.location} {len(lines[1])}; line "
            "by line they have to be the same but for the pronoun"
        )
    for number, (one, other) in enumerate(zip_longest(*lines), start=1):
        yield _pair(f"{kind}-{number:03}", one, other)


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
