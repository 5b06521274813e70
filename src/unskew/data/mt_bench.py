"""MT-bench: eighty questions of two turns, reference answers, and how a judge is asked.

Source: Zheng et al. 2023, arXiv 2306.05685, the files of FastChat's `llm_judge/data`; Apache-2.0.
Hub copies such as `HuggingFaceH4/mt_bench_prompts` hold the questions alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unskew.chat import Dialogue, JudgePrompt
from unskew.data.json_rows import json_lines, json_value
from unskew.data.records import Faults, read_text
from unskew.data.sources import (
    TableSource,
    TextSource,
    first_line,
    is_saved_dataset,
    joint_sha256,
    looks_like_hub_id,
    open_source,
)
from unskew.errors import DataError
from unskew.types import Dataset, Examples

TASK = "mt_bench"
QUESTIONS, PROMPTS = "question.jsonl", "judge_prompts.jsonl"
REFERENCES = ("reference_answer*.jsonl", "reference_answer/*.jsonl")
TURNS = 2
NEED_REFERENCE = ("math", "reasoning", "coding")
"""Categories whose judge is shown a reference answer."""
_HUB_NAMES = {"prompt_id": "question_id", "prompt": "turns"}
_FIRST = frozenset({"question", "answer"})
_BOTH = frozenset({"question_1", "answer_1", "question_2", "answer_2"})
TEMPLATES: Mapping[bool, Mapping[str, frozenset[str]]] = {
    False: {"single-v1": _FIRST, "single-v1-multi-turn": _BOTH},
    True: {
        "single-math-v1": _FIRST | {"ref_answer_1"},
        "single-math-v1-multi-turn": _BOTH | {"ref_answer_1", "ref_answer_2"},
    },
}
"""Whether a reference is shown -> the templates of the first and of the second turn, and what each
has in braces."""
BLANK = re.compile(r"\{(\w+)\}")
_GRADE = "[[rating]]"

_Templates = Mapping[bool, tuple[JudgePrompt, ...]]


def load_mt_bench(name_or_path: str) -> Dataset:
    """Read questions, reference answers and templates; all goes to the report split.

    Args:
        name_or_path: The folder with `question.jsonl` and `reference_answer/JUDGE.jsonl` (or
            `reference_answer_JUDGE.jsonl`), or the file of questions in it. `judge_prompts.jsonl`
            lies there or one folder above, as in FastChat. In place of `question.jsonl` the folder
            may hold what `datasets` saved of a hub copy.

    Raises:
        DataError: A hub id, which has no words for a judge; a file is missing or wrong, or a
            question that needs a reference has none; `problems` lists every fault.
        MissingDataset: There are no questions.
    """
    given = Path(name_or_path)
    if not given.exists() and looks_like_hub_id(name_or_path):
        raise DataError(
            f"{name_or_path}: hub copies of MT-bench hold questions and no words for a judge; save "
            f"it with datasets.load_dataset({name_or_path!r}).save_to_disk(FOLDER), put FastChat's "
            f"llm_judge/data/{PROMPTS} and reference_answer/gpt-4.jsonl (as "
            "reference_answer_gpt-4.jsonl) into FOLDER, and name FOLDER"
        )
    is_saved = given.is_dir() and not (given / QUESTIONS).is_file() and is_saved_dataset(given)
    path = given if is_saved or given.is_file() else given / QUESTIONS
    folder = given if is_saved else path.parent
    questions, prompts = open_source(str(path)), _text(_prompts_of(folder))
    answers = _references_of(folder)
    sources = [questions, prompts, *([answers] if answers else [])]
    references = _references(answers) if answers else {}
    items = _questions(questions, _templates(prompts), references)
    examples = {"report": Examples(dialogues=items)}
    return Dataset(folder.resolve().name, examples, (), joint_sha256(sources), name_or_path)


def is_mt_bench(name_or_path: str) -> bool:
    """Whether a place is a file of MT-bench's questions, or a folder with one."""
    path = Path(name_or_path)
    row = json_value(first_line(path / QUESTIONS if path.is_dir() else path))
    return isinstance(row, Mapping) and {"question_id", "turns"} <= set(row)


def _text(path: Path) -> TextSource:
    source = open_source(str(path))
    assert isinstance(source, TextSource)
    return source


def _prompts_of(folder: Path) -> Path:
    places = (folder / PROMPTS, folder.resolve().parent / PROMPTS)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise DataError(
            f"{folder}: has no {PROMPTS}, nor has the folder above; put FastChat's "
            f"llm_judge/data/{PROMPTS} beside {QUESTIONS}"
        )
    return found


def _references_of(folder: Path) -> TextSource | None:
    found = sorted(path for pattern in REFERENCES for path in folder.glob(pattern))
    if len(found) > 1:
        listed = ", ".join(str(path.relative_to(folder)) for path in found)
        raise DataError(f"{folder}: has several reference answers, {listed}; keep one of them")
    return _text(found[0]) if found else None


def _templates(source: TextSource) -> _Templates:
    faults = Faults(source.location)
    rows: dict[str, tuple[str, Mapping[Any, Any]]] = {}
    for row, value in json_lines(source.text, faults):
        if isinstance(value, Mapping) and isinstance(value.get("name"), str):
            if faults.is_new_id(value["name"], row, "name"):
                rows[value["name"]] = (row, value)
        else:
            faults.add(row, "name", "is missing", "give FastChat's judge prompts")
    made = {
        with_reference: tuple(_template(name, rows, blanks, faults) for name, blanks in of.items())
        for with_reference, of in TEMPLATES.items()
    }
    faults.raise_all()
    return made


def _template(
    name: str,
    rows: Mapping[str, tuple[str, Mapping[Any, Any]]],
    blanks: frozenset[str],
    faults: Faults,
) -> JudgePrompt:
    if name not in rows:
        faults.add("file", name, "is missing", "add FastChat's prompt of this name")
        return JudgePrompt(name, ())
    row, value = rows[name]
    system = read_text(value, "system_prompt", row, faults) or ""
    template = read_text(value, "prompt_template", row, faults) or ""
    if value.get("output_format") != _GRADE:
        fault = f"is {value.get('output_format')!r:.40}"
        faults.add(row, "output_format", fault, f"give a prompt that asks for {_GRADE}")
    named = set(BLANK.findall(template))
    if template and named != blanks:
        wrong = ", ".join(f"{{{blank}}}" for blank in sorted(named ^ blanks))
        fault = f"of {name} lacks or does not know {wrong}"
        faults.add(
            row, "prompt_template", fault, f"use {', '.join(sorted(blanks))}, each in braces"
        )
    return JudgePrompt(name, (("system", system), ("user", template)))


def _references(source: TextSource) -> dict[str, tuple[str, ...]]:
    """Both reference answers, by the id of the question."""
    faults = Faults(source.location)
    found: dict[str, tuple[str, ...]] = {}
    for row, value in json_lines(source.text, faults):
        if not isinstance(value, Mapping):
            faults.add(row, "row", f"is {type(value).__name__}", "give FastChat's answers")
            continue
        identity = read_text(value, "question_id", row, faults)
        choices = value.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        turns = _both(first.get("turns") if isinstance(first, Mapping) else None, row, faults)
        if identity and turns and faults.is_new_id(identity, row, "question_id"):
            found[identity] = turns
    faults.raise_all()
    return found


def _questions(
    source: TextSource | TableSource,
    templates: _Templates,
    references: Mapping[str, tuple[str, ...]],
) -> tuple[Dialogue, ...]:
    faults = Faults(source.location)
    items: list[Dialogue] = []
    for row, value in _rows(source, faults):
        if not isinstance(value, Mapping):
            faults.add(row, "row", f"is {type(value).__name__}", "give FastChat's questions")
            continue
        identity = read_text(value, "question_id", row, faults)
        category = read_text(value, "category", row, faults)
        turns = _both(value.get("turns"), row, faults)
        if not (identity and category and turns):
            continue
        faults.is_new_id(identity, row, "question_id")
        with_reference = category in NEED_REFERENCE
        if with_reference and identity not in references:
            fault = f"{identity!r} ({category}) has no reference answer"
            faults.add(row, "question_id", fault, f"add it to {REFERENCES[1]}")
        shown = references.get(identity, ()) if with_reference else ()
        made = templates[with_reference]
        items.append(
            Dialogue(identity, category, turns, TASK, references=shown, judge_templates=made)
        )
    faults.raise_all()
    if not items:
        raise DataError(f"{source.location}: there is no question in it; give at least one row")
    return tuple(items)


def _rows(source: TextSource | TableSource, faults: Faults) -> Iterator[tuple[str, object]]:
    """Questions by FastChat's names; a hub copy has its own names of two."""
    if isinstance(source, TextSource):
        yield from json_lines(source.text, faults)
        return
    for table, rows in source.tables.items():
        for number, row in enumerate(rows, start=1):
            yield f"{table}[{number}]", {_HUB_NAMES.get(name, name): v for name, v in row.items()}


def _both(value: object, row: str, faults: Faults) -> tuple[str, ...] | None:
    """Two texts; None where a fault was noted."""
    if not isinstance(value, list) or len(value) != TURNS:
        count = f"has {len(value)}" if isinstance(value, list) else f"is {type(value).__name__}"
        faults.add(row, "turns", f"{count}", f"give a list of {TURNS} texts")
        return None
    texts = [read_text({"turns": text}, "turns", row, faults) for text in value]
    return None if None in texts else tuple(map(str, texts))
