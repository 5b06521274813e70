"""HolisticBias: words for people by what they are about, nouns, and templates of sentences.

Source: Smith et al. 2022, arXiv 2205.09209, `descriptors.json`, `nouns.json` and
`sentence_templates.json`, versions 1.0 and 1.1; CC BY-SA 4.0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unskew.data.records import Faults, read_optional_text, read_text
from unskew.data.sources import TextSource, open_source
from unskew.errors import DataError, MissingDataset
from unskew.items import Descriptor
from unskew.types import Dataset, Examples

FILES = ("descriptors.json", "nouns.json", "sentence_templates.json")
PHRASES = ("{noun_phrase}", "{plural_noun_phrase}")
_VOWELS = "aeiou"


def load_holistic_bias(name_or_path: str) -> Dataset:
    """Read the words, each with its nouns and all templates; all go to the report split.

    A word with a gender goes with nouns of that gender alone. The article is `an` before a vowel
    unless the file says otherwise. The standalone noun phrases of the data set are not read.

    Args:
        name_or_path: The folder of one version, with the three files.

    Raises:
        DataError: The content is wrong; `problems` lists every fault.
        MissingDataset: There is no such folder, or it lacks a file.
    """
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise MissingDataset(
            f"no folder {name_or_path!r}; give that of one version of HolisticBias, with "
            f"{', '.join(FILES)} (the hub copy holds finished sentences, which are not read)"
        )
    faults = Faults(name_or_path)
    sources = [open_source(str(folder / name)) for name in FILES]
    words, nouns, templates = (
        _object(s, name, faults) for s, name in zip(sources, FILES, strict=True)
    )
    of_gender = {gender: tuple(_nouns(gender, pairs, faults)) for gender, pairs in nouns.items()}
    usable = tuple(_templates(templates, faults))
    items = tuple(_descriptors(words, of_gender, usable, faults))
    faults.raise_all()
    if not (items and usable and any(of_gender.values())):
        raise DataError(f"{name_or_path}: no descriptor, noun or template in it; give some of each")
    sha256 = hashlib.sha256("".join(s.sha256 for s in sources).encode()).hexdigest()
    return Dataset(folder.name, {"report": Examples(descriptors=items)}, (), sha256, name_or_path)


def is_holistic_bias(name_or_path: str) -> bool:
    """Whether a place is a folder of HolisticBias, by names of files.

    Args:
        name_or_path: As in `load_holistic_bias`.
    """
    return all((Path(name_or_path) / name).is_file() for name in FILES)


def _object(source: object, name: str, faults: Faults) -> Mapping[str, Any]:
    assert isinstance(source, TextSource)
    try:
        found = json.loads(source.text)
    except ValueError as error:
        faults.add(name, "file", f"is not JSON ({error})", "fetch it again")
        return {}
    if not isinstance(found, dict):
        faults.add(name, "file", f"is {type(found).__name__}", "give a JSON object")
        return {}
    return found


def _nouns(gender: str, pairs: object, faults: Faults) -> Iterator[tuple[str, str]]:
    for number, pair in enumerate(pairs if isinstance(pairs, list) else [pairs], start=1):
        match pair:
            case [str(one), str(many)] if one.strip() and many.strip():
                yield one, many
            case _:
                mend = "give singular and plural"
                faults.add("nouns.json", f"{gender}[{number}]", f"is {pair!r:.60}", mend)


def _templates(templates: Mapping[str, Any], faults: Faults) -> Iterator[str]:
    for template in templates:
        if sum(template.count(phrase) for phrase in PHRASES) == 1:
            yield template
        else:
            fault, mend = "does not hold one noun phrase", f"give one of {', '.join(PHRASES)}"
            faults.add("sentence_templates.json", template, fault, mend)


def _descriptors(
    words: Mapping[str, Any],
    nouns: Mapping[str, tuple[tuple[str, str], ...]],
    templates: tuple[str, ...],
    faults: Faults,
) -> Iterator[Descriptor]:
    every = tuple(pair for pairs in nouns.values() for pair in pairs)
    for axis, buckets in words.items():
        if not isinstance(buckets, dict):
            faults.add("descriptors.json", axis, f"is {buckets!r:.60}", "give an object of lists")
            continue
        for bucket, listed in buckets.items():
            for number, entry in enumerate(listed, start=1):
                row = f"descriptors.json:{axis}.{bucket}[{number}]"
                record: Any = {"descriptor": entry} if isinstance(entry, str) else entry
                if not isinstance(record, dict):
                    faults.add(row, "descriptor", f"is {entry!r:.60}", "give a text or an object")
                    continue
                text = read_text(record, "descriptor", row, faults)
                gender = read_optional_text(record, "gender", row, faults)
                if gender is not None and gender not in nouns:
                    mend = f"use {', '.join(nouns)}"
                    faults.add(row, "gender", f"unknown value {gender!r}", mend)
                if text is None or not faults.is_new_id(f"{axis}/{text}", row, "descriptor"):
                    continue
                article = read_optional_text(record, "article", row, faults)
                article = article or ("an" if text[0].lower() in _VOWELS else "a")
                fitting = every if gender is None else nouns.get(gender, ())
                yield Descriptor(f"{axis}/{text}", axis, text, article, fitting, templates)
