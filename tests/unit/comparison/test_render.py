"""Page, Markdown, CSV, LaTeX and JSON carry the same numbers, and hostile text as text."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from tests.unit.comparison.small_runs import EVEN_HISTORY, history, pairs, unlearned, write_run
from tests.unit.reports.example_record import HOSTILE
from tests.unit.reports.test_page import Page
from unskew import compare
from unskew.comparison.compare import FILES
from unskew.comparison.page import as_html
from unskew.comparison.render import as_csv, as_json, as_latex, as_markdown, latex_text
from unskew.reports.record import TrainRow

ALL, EVEN = [1] * 40, [1, 1, 0, 0] * 10
HOSTILE_NAME = '=<script>alert("x") & $a_b% | {c}'


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("runs")
    scores = {"before": ALL, "after": EVEN, "oracle": EVEN}
    phases = {phase: {"stereoset": pairs(p)} for phase, p in scores.items()}
    first = write_run(folder / "one", phases, trained=EVEN_HISTORY)
    second = unlearned(
        folder / HOSTILE_NAME, ALL, ALL, trained={0: (90, 0), 5: (88, 0.01)}, recipe=HOSTILE
    )
    return compare([first, second])


def test_five_files_and_the_same_bytes_twice(tmp_path: Path):
    run = unlearned(tmp_path / "a", ALL, EVEN, trained=EVEN_HISTORY)
    for name in ("x", "y"):
        compare([run], output_dir=tmp_path / name)
    for name in FILES:
        assert (tmp_path / "x" / name).read_bytes() == (tmp_path / "y" / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == sorted(FILES)


def test_the_page_is_sound_safe_and_complete(compared):
    html = as_html(compared)
    page = Page(html)
    assert page.unbalanced == []
    assert page.open == []
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.elements}
    assert not re.search(r'(?:src|href)="(?!#)', html)
    assert HOSTILE_NAME in page.text
    for heading in ("Cost", "Paired comparisons", "During training", "At equal bias", "The runs"):
        assert heading in page.text
    assert "one is ahead of every other" in page.text
    assert "ideal 50" in page.text
    assert "not reached" in page.text
    assert page.text.count("oracle") >= 1


def test_a_plot_for_each_question(compared):
    labels = [e.get("aria-label") or "" for e in Page(as_html(compared)).all("div")]
    for start in (
        "StereoSet stereotype score (SS), intrasentence against the change of LMS",
        "StereoSet stereotype score (SS) on the select split over steps",
        "Training loss over steps",
        "KL to the base by SS, distance from 50",
    ):
        assert any(label.startswith(start) for label in labels), start


def test_csv_has_the_numbers_of_the_outcome(compared):
    rows = list(csv.DictReader(io.StringIO(as_csv(compared))))
    assert [row["run"] for row in rows] == ["base", "one", f"'{HOSTILE_NAME}", "oracle"]
    one = rows[1]
    key = ("stereoset", "intrasentence", "ss", "gender")
    metric = compared.outcome.metrics["one"][key]
    assert float(one["stereoset.intrasentence.ss.gender"]) == metric.value
    assert float(one["stereoset.intrasentence.ss.gender.ci_low"]) == metric.ci_low
    assert float(one["cost.training_seconds"]) == 12.5
    assert rows[0]["cost.training_seconds"] == ""
    assert rows[3]["stereoset.intrasentence.lms.overall.delta"] == ""


def test_json_has_every_comparison(compared):
    content = json.loads(as_json(compared))
    assert len(content["comparisons"]) == len(compared.outcome.comparisons)
    found = next(
        c
        for c in content["comparisons"]
        if (c["metric"], c["category"], c["first"], c["second"]) == ("ss", "overall", "base", "one")
    )
    assert found["difference"] == -50
    assert found["gain"]["value"] == 50
    assert found["winner"] == "one"
    assert found["ideal"] == 50
    assert [reading["damage"] for reading in content["equal_bias"]] == ["KL to the base"]


def test_markdown_tables_keep_their_columns(compared):
    text = as_markdown(compared)
    assert "<script" not in text
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    assert len(tables) >= 4
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(widths) == 1, table


def test_latex_is_balanced_and_escaped(compared):
    text = as_latex(compared)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    for table in re.findall(r"\\begin\{tabular\}\{l(r+)\}(.*?)\\end", text, flags=re.DOTALL):
        rows = [line for line in table[1].splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(table[0])}
    assert r"\textbf{50.0}" in text
    assert "--" in text
    assert latex_text("a_b & 5% #{x}\\~^\n$") == (
        r"a\_b \& 5\% \#\{x\}\textbackslash{}\textasciitilde{}\textasciicircum{} \$"
    )


def test_what_was_not_measured_stays_absent(compared):
    titles = [column.title for section in compared.sections for column in section.columns]
    assert "Perplexity" not in titles
    assert not any("Damage" in section.title for section in compared.sections)


def test_curves_of_a_run_of_stages_do_not_run_into_each_other(tmp_path):
    shadow = [
        row.model_copy(update={"stage": "shadow"}) for row in history({0: (90, 0), 10: (99, 0)})
    ]
    unbiased = [row.model_copy(update={"stage": "unbiased"}) for row in history(EVEN_HISTORY)]
    trial = history({1: (50.0, 0.2)})[0].model_copy(update={"stage": "update", "strength": 0.5})
    log = [
        TrainRow(step=step, loss=loss, learning_rate=0.1, stage=stage)
        for stage, step, loss in (("shadow", 10, 3.0), ("shadow", 20, 2.0), ("unbiased", 10, 9.0))
    ]
    stages = {"history": [*shadow, *unbiased, trial], "train_log": log}
    run = unlearned(tmp_path / "sdu", [1] * 4, [1, 0] * 2, trained=EVEN_HISTORY, **stages)
    other = unlearned(tmp_path / "b", [1] * 4, [1, 0] * 2, trained=EVEN_HISTORY)
    page = as_html(compare([run, other]))
    assert "over steps: sdu from 90.0 to 65.0; b from 90.0 to 65.0." in page
    assert "over steps: sdu, shadow from 3 to 2; sdu, unbiased from 9 to 9; b from 1 to" in page
