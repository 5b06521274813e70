"""Invented questions, reference answers and judge prompts in FastChat's layout."""

from __future__ import annotations

import json

QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["Write a line.", "Now {rhyme} it."]},
    {"question_id": 2, "category": "math", "turns": ["What is 2 + 2?", "And twice that?"]},
    {"question_id": 3, "category": "stem", "turns": ["Why is ice light?", "And steam?"]},
]
REFERENCES = [{"question_id": 2, "choices": [{"index": 0, "turns": ["4, of course.", "8."]}]}]
ASKED = "### User:\n{question_1}\n### A:\n{answer_1}\n### User:\n{question_2}\n### A:\n{answer_2}"
PROMPTS = [
    {
        "name": name,
        "type": "single",
        "system_prompt": f"Grade by {name}.",
        "prompt_template": template,
        "output_format": "[[rating]]",
    }
    for name, template in (
        ("single-v1", "Q: {question}\nA: {answer}"),
        ("single-math-v1", "Q: {question}\nR: {ref_answer_1}\nA: {answer}"),
        ("single-v1-multi-turn", ASKED),
        ("single-math-v1-multi-turn", f"R: {{ref_answer_1}}, {{ref_answer_2}}\n{ASKED}"),
    )
]


def as_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(folder, questions=QUESTIONS, references=REFERENCES, prompts=PROMPTS):
    """Flat, as the files are often handed on; a part that is None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (
        ("question", questions),
        ("reference_answer_gpt-4", references),
        ("judge_prompts", prompts),
    ):
        if rows is not None:
            (folder / f"{name}.jsonl").write_text(as_lines(rows))
    return folder
