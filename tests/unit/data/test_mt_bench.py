"""MT-bench's three files to dialogues with references and templates. All rows are invented."""

from __future__ import annotations

import datasets
import pytest

from tests.unit.data.mt_bench_files import PROMPTS, QUESTIONS, REFERENCES, as_lines, write
from unskew.data.measured import measured_format
from unskew.data.mt_bench import load_mt_bench
from unskew.errors import DataError, MissingDataset


def found(place):
    return load_mt_bench(str(place)).splits["report"].dialogues


def test_questions_have_what_their_judge_is_shown(tmp_path):
    writing, math, stem = found(write(tmp_path / "mt"))
    assert (writing.id, writing.category) == ("1", "writing")
    assert writing.turns == ("Write a line.", "Now {rhyme} it.")
    assert [t.version for t in writing.judge_templates] == ["single-v1", "single-v1-multi-turn"]
    assert (writing.references, stem.references) == ((), ())
    assert math.references == ("4, of course.", "8.")
    assert [t.version for t in math.judge_templates] == [
        "single-math-v1",
        "single-math-v1-multi-turn",
    ]
    assert math.judge_templates[0].messages == (
        ("system", "Grade by single-math-v1."),
        ("user", "Q: {question}\nR: {ref_answer_1}\nA: {answer}"),
    )


def test_fastchats_folders_are_read(tmp_path):
    """Prompts one folder above, references in a folder of their own."""
    flat = write(tmp_path / "flat")
    nested = write(tmp_path / "data" / "mt_bench", references=None, prompts=None)
    (tmp_path / "data" / "judge_prompts.jsonl").write_text(as_lines(PROMPTS))
    (nested / "reference_answer").mkdir()
    (nested / "reference_answer" / "gpt-4.jsonl").write_text(as_lines(REFERENCES))
    assert found(nested) == found(flat) == found(flat / "question.jsonl")


@pytest.mark.parametrize("names", [{}, {"question_id": "prompt_id", "turns": "prompt"}])
def test_a_saved_hub_copy_has_the_questions(tmp_path, names):
    """By FastChat's names of the columns, or by those of the copy; the rest lies beside it."""
    expected = found(write(tmp_path / "files"))
    place = write(tmp_path / "saved", questions=QUESTIONS)
    (place / "question.jsonl").unlink()
    # What a copy holds as reference is no answer of a judge's model.
    rows = [{names.get(k, k): v for k, v in q.items()} | {"reference": ["no"]} for q in QUESTIONS]
    datasets.DatasetDict(train=datasets.Dataset.from_list(rows)).save_to_disk(place)
    assert found(place) == expected
    (place / "judge_prompts.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no judge_prompts\.jsonl"):
        found(place)


def test_a_hub_id_has_no_words_for_a_judge():
    with pytest.raises(DataError, match="hold questions and no words for a judge; save it with"):
        load_mt_bench("HuggingFaceH4/mt_bench_prompts")


def test_the_checksum_is_that_of_all_three_files(tmp_path):
    sums = {load_mt_bench(str(write(tmp_path / "a"))).sha256}
    sums.add(load_mt_bench(str(write(tmp_path / "b", questions=QUESTIONS[:2]))).sha256)
    other = [{**p, "system_prompt": "Grade."} for p in PROMPTS]
    sums.add(load_mt_bench(str(write(tmp_path / "c", prompts=other))).sha256)
    answers = [{"question_id": 2, "choices": [{"turns": ["Four.", "8."]}]}]
    sums.add(load_mt_bench(str(write(tmp_path / "d", references=answers))).sha256)
    assert len(sums) == 4


def changed(rows, number, **fields):
    return [{**row, **fields} if i == number else row for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"questions": changed(QUESTIONS, 1, turns=["One?"])}, r"question\.jsonl:2: turns: has 1"),
        (
            {"questions": changed(QUESTIONS, 1, turns="One?")},
            r"jsonl:2: turns: is str; give a list",
        ),
        ({"questions": changed(QUESTIONS, 0, turns=["One?", 2.5])}, r"jsonl:1: turns: is float"),
        (
            {"questions": changed(QUESTIONS, 2, question_id=1)},
            r"question\.jsonl:3: question_id: '1' is also the id of row 1; give every row its own",
        ),
        ({"questions": changed(QUESTIONS, 0, category=None)}, r"jsonl:1: category: is missing"),
        ({"questions": ["x"]}, r"question\.jsonl:1: row: is str; give FastChat's questions"),
        (
            {"references": []},
            "the file is empty",
        ),
        (
            {"references": None},
            r"question\.jsonl:2: question_id: '2' \(math\) has no reference answer; add it to ref",
        ),
        (
            {"references": changed(REFERENCES, 0, question_id=3)},
            r"question\.jsonl:2: question_id: '2' \(math\) has no reference answer",
        ),
        (
            {"references": [*REFERENCES, *REFERENCES]},
            r"gpt-4\.jsonl:2: question_id: '2' is also the id of row 1",
        ),
        (
            {"references": changed(REFERENCES, 0, choices=[{"turns": ["4"]}])},
            r"gpt-4\.jsonl:1: turns: has 1; give a list of 2 texts",
        ),
        ({"references": changed(REFERENCES, 0, choices=[])}, r"jsonl:1: turns: is NoneType"),
        ({"prompts": None}, r"has no judge_prompts\.jsonl, nor has the folder above; put"),
        ({"prompts": PROMPTS[:3]}, r"prompts\.jsonl:file: single-math-v1-multi-turn: is missing"),
        (
            {"prompts": [*PROMPTS, PROMPTS[0]]},
            r"judge_prompts\.jsonl:5: name: 'single-v1' is also the id of row 1",
        ),
        (
            {"prompts": changed(PROMPTS, 0, prompt_template="Q: {question} {mood}")},
            r"jsonl:1: prompt_template: of single-v1 lacks or does not know {answer}, {mood}; use",
        ),
        (
            {"prompts": changed(PROMPTS, 1, output_format="[[A]]")},
            r"jsonl:2: output_format: is '\[\[A\]\]'; give a prompt that asks for \[\[rating\]\]",
        ),
        ({"prompts": changed(PROMPTS, 3, system_prompt=" ")}, r"jsonl:4: system_prompt: is empty"),
        ({"prompts": [{"title": "x"}, *PROMPTS]}, r"jsonl:1: name: is missing"),
    ],
)
def test_faults_name_file_line_and_field(tmp_path, parts, message):
    with pytest.raises(DataError, match=message) as failure:
        found(write(tmp_path / "mt", **parts))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("name", ["question", "reference_answer_gpt-4", "judge_prompts"])
def test_truncated_files_are_refused(tmp_path, name):
    folder = write(tmp_path / "mt")
    path = folder / f"{name}.jsonl"
    path.write_text(path.read_text()[:-20])
    count = len(path.read_text().split("\n"))
    with pytest.raises(DataError, match=rf"{name}\.jsonl:{count}: line: is not JSON"):
        found(folder)


def test_of_two_judges_references_one_is_kept(tmp_path):
    folder = write(tmp_path / "mt")
    (folder / "reference_answer_llama.jsonl").write_text(as_lines(REFERENCES))
    with pytest.raises(DataError, match=r"several reference answers, .*gpt-4.*llama.*; keep one"):
        found(folder)


def test_a_folder_without_questions_is_refused(tmp_path):
    folder = write(tmp_path / "mt", questions=None)
    (folder / "questions.jsonl").write_text(as_lines(QUESTIONS))
    with pytest.raises(MissingDataset, match=r"did you mean 'questions\.jsonl'"):
        found(folder)
    assert measured_format(str(folder)) is None


def test_a_place_is_recognised_by_its_questions(tmp_path):
    folder = write(tmp_path / "mt")
    assert measured_format(str(folder)) == measured_format(f"{folder}/question.jsonl") == "mt_bench"
    assert measured_format(str(folder / "judge_prompts.jsonl")) is None


def test_the_public_files(lab):
    items = found(lab / "data" / "mt_bench")
    counts = {}
    for item in items:
        counts.setdefault(item.category, []).append(bool(item.references))
    assert {name: len(rows) for name, rows in counts.items()} == dict.fromkeys(counts, 10)
    assert len(counts) == 8
    assert {c for c, rows in counts.items() if all(rows)} == {"math", "reasoning", "coding"}
    assert sum(map(sum, counts.values())) == 30
    assert len({item.judge_templates for item in items}) == 2
