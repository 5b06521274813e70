"""Whatever FairMT-Bench's or MT-bench's files hold: dialogues come out, or an error of ours."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.data.mt_bench_files import PROMPTS, QUESTIONS, REFERENCES, as_lines
from unskew.benchmarks.mt_bench import grade
from unskew.data.fairmt import GROUPS, TASKS, load_fairmt
from unskew.data.mt_bench import load_mt_bench
from unskew.errors import UnskewError

any_text = st.text(st.characters(exclude_categories=()), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text
turn_keys = st.sampled_from(
    [*(str(i) for i in range(6)), *(f"{i}-turn Conv" for i in range(6)), "task", "x"]
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)
whole = st.fixed_dictionaries({str(i): any_text for i in range(5)})
tasks = st.sampled_from([*TASKS, "Other"])
groups = st.sampled_from([*GROUPS, "none", ""])
dialogues = st.lists(whole | st.dictionaries(turn_keys, values, max_size=7) | values, max_size=4)


def read(load, files, place="."):
    """The dialogues, or None for an error of ours; anything else fails."""
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(content)
        try:
            return load(str(Path(folder) / place)).splits["report"].dialogues
        except UnskewError as error:
            assert str(error)
            return None


def hold(items, turns):
    assert len({item.id for item in items}) == len(items) > 0
    for item in items:
        assert len(item.turns) == turns
        assert all(turn.strip() for turn in item.turns)


@given(st.binary(max_size=100), st.sampled_from([".json", ".json.gz"]))
@example(b"\x1f\x8b\x08\x00", ".json")
@example(b"1" * 5000, ".json")
@example(b"[" * 5000, ".json")
def test_arbitrary_bytes_are_dialogues_or_our_error(content, ending):
    assert not read(load_fairmt, {f"Fixed_Format{ending}": content})
    read(load_mt_bench, {"question.jsonl": content, "judge_prompts.jsonl": content})


@settings(max_examples=150)
@given(
    dialogues | values, st.sampled_from([*TASKS, "Other"]), st.sampled_from([*GROUPS, "none", ""])
)
def test_arbitrary_rows_are_five_turns_or_our_error(rows, task, group):
    name = f"{task}/prompt_{group}.json" if group else f"{task}.json"
    items = read(load_fairmt, {name: json.dumps(rows).encode()})
    if items is not None:
        hold(items, 5)
        assert {item.task for item in items} == {task} <= set(TASKS)
        assert len(items) == len(rows)


FIELDS = """question_id category turns choices name system_prompt prompt_template output_format"""
fields = st.sampled_from(FIELDS.split())
changes = st.dictionaries(fields, values, max_size=2)


@settings(max_examples=150)
@given(st.lists(changes, max_size=3), st.lists(changes, max_size=1), st.lists(changes, max_size=4))
def test_arbitrary_changes_of_mt_bench_are_questions_or_our_error(questions, references, prompts):
    def changed(rows, by):
        return as_lines(
            [{**row, **(by[i] if i < len(by) else {})} for i, row in enumerate(rows)]
        ).encode()

    files = {
        "question.jsonl": changed(QUESTIONS, questions),
        "reference_answer/gpt-4.jsonl": changed(REFERENCES, references),
        "judge_prompts.jsonl": changed(PROMPTS, prompts),
    }
    items = read(load_mt_bench, files)
    if items is not None:
        hold(items, 2)
        assert len(items) == len(QUESTIONS)
        assert all(len(item.judge_templates) == 2 for item in items)
    elif not any((*questions, *references, *prompts)):
        raise AssertionError("the unchanged files are read")


@given(st.text(max_size=60) | st.from_regex(r".{0,9}\[{1,2}-?\d{0,4}\.?\d?\]{1,2}.{0,9}"))
def test_a_grade_is_from_one_to_ten_or_none(text):
    found = grade(text)
    assert found is None or 1 <= found <= 10
