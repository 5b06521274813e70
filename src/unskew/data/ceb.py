"""CEB: prompts on stereotypes and toxicity, to be judged by the model or to be continued.

Source: Wang et al. 2024, arXiv 2407.02408, one JSON list for each group; no licence stated.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from unskew.chat import Dialogue
from unskew.data.records import Faults, read_text
from unskew.data.sources import TableSource, TextSource, joint_sha256, open_folder
from unskew.errors import DataError
from unskew.types import Dataset, Examples

Task = Literal["recognition", "selection", "continuation", "conversation"]
SUFFIXES = (".json",)
OPTIONS = ("1", "2")
MARKS: Mapping[Task, str] = {
    "recognition": "you should judge whether the following sentence",
    "selection": "which one of the following descriptions",
    "continuation": "continue writing from the following beginning",
    "conversation": "for the following beginning of a conversation",
}
"""What the prompts of each task say, in lower case."""


def load_ceb(name_or_path: str, task: Task, revision: str | None = None) -> Dataset:
    """Read the prompts of one task; all go to the report split.

    The category is the name of the file (`gender`). Sentences about one context are a cluster.

    Args:
        name_or_path: A JSON file, also `.gz`, or the folder of one task, e.g. `CEB-Recognition-S`.
        task: What the prompts are for.
        revision: Branch, tag or commit of a hub id.

    Raises:
        DataError: The content is wrong or of another task; `problems` lists every fault. Or it is
            to be continued and about toxicity.
        MissingDataset: No such file or folder.
    """
    sources = open_folder(name_or_path, SUFFIXES, revision)
    _refuse_toxicity(name_or_path, task)
    faults = Faults(name_or_path if len(sources) > 1 else sources[0].location)
    items = [
        item
        for source in sources
        for group, row, value in _rows(source, faults, named=len(sources) > 1)
        if (item := _dialogue(value, group, row, task, faults)) is not None
    ]
    faults.raise_all()
    if not items:
        raise DataError(f"{name_or_path}: there is no prompt in it; give at least one row")
    name = Path(name_or_path).name if Path(name_or_path).is_dir() else sources[0].name
    sha256 = joint_sha256(sources)
    return Dataset(name, {"report": Examples(dialogues=tuple(items))}, (), sha256, name_or_path)


def _refuse_toxicity(name_or_path: str, task: Task) -> None:
    # The prompts of -S and -T look alike; the name of the release's folder alone tells them apart.
    folders = (Path(name_or_path).name, Path(name_or_path).absolute().parent.name)
    if task in ("continuation", "conversation") and any(f.endswith("-T") for f in folders):
        raise DataError(
            f"{name_or_path}: is CEB's toxicity data by its folder's name, and the judge is asked "
            f"about stereotypes; give CEB-{task.capitalize()}-S. Toxicity of what a model writes "
            "is rated by a classifier (docs/classifiers.md)"
        )


recognition = partial(load_ceb, task="recognition")
selection = partial(load_ceb, task="selection")
continuation = partial(load_ceb, task="continuation")
conversation = partial(load_ceb, task="conversation")


def _rows(
    source: TextSource | TableSource, faults: Faults, *, named: bool
) -> Iterator[tuple[str, str, object]]:
    """Group, place and value of each row."""
    prefix = f"{source.location}:" if named else ""
    if isinstance(source, TableSource):
        for table, rows in source.tables.items():
            yield from ((table, f"{prefix}{table}[{i}]", row) for i, row in enumerate(rows, 1))
        return
    try:
        content = json.loads(source.text)
    except ValueError as error:
        faults.add(prefix or "file", "file", f"is not JSON ({error})", "give CEB's JSON list")
        return
    if not isinstance(content, list):
        faults.add(prefix or "file", "file", f"is {type(content).__name__}", "give a list of rows")
        return
    yield from ((source.name, f"{prefix}{i}", row) for i, row in enumerate(content, start=1))


def _dialogue(value: object, group: str, row: str, task: Task, faults: Faults) -> Dialogue | None:
    if not isinstance(value, Mapping):
        faults.add(row, "row", f"is {type(value).__name__}", "give the fields of CEB")
        return None
    before = len(faults.lines)
    prompt = read_text(value, "prompt", row, faults) or ""
    if prompt and MARKS[task] not in prompt.lower():
        other = next((t for t, mark in MARKS.items() if mark in prompt.lower()), None)
        fault = f"is a prompt of CEB's {other or 'none of the'} task{'s' * (other is None)}"
        faults.add(row, "prompt", fault, f"give data of the {task} task")
    is_choice = task in ("recognition", "selection")
    target = str(value.get("target"))
    if is_choice and target not in OPTIONS:
        faults.add(row, "target", f"is {value.get('target')!r:.60}", "give 1 or 2")
    sentence = value.get("sentence")
    if task == "recognition" and not (isinstance(sentence, str) and sentence in prompt):
        faults.add(row, "sentence", "is no text of the prompt", "give the sentence in question")
    if len(faults.lines) > before:
        return None
    # A stereotype and its anti-stereotype differ in the sentence alone.
    frame = prompt.replace(str(sentence), "") if task == "recognition" else row
    return Dialogue(
        id=f"{group}-{row.rpartition(':')[2]:0>4}",
        category=group,
        turns=(prompt,),
        task=task,
        cluster=f"{group}-{hashlib.sha256(frame.encode()).hexdigest()[:12]}",
        options=OPTIONS if is_choice else (),
        right=OPTIONS.index(target) if is_choice else None,
    )
