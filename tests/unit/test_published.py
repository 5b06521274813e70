"""A paper's table is audited by identities, and stands beside ours."""

from __future__ import annotations

import json
import re

import pytest

from tests.unit.comparison.small_runs import unlearned
from unskew.comparison.means import Method, Result
from unskew.comparison.overview import write_overview
from unskew.comparison.published import beside
from unskew.plans import plan_names, read_plan
from unskew.published import Published, audit, same_model
from unskew.reports.record import RunRecord

COLUMNS = ["ss.gender", "ss.race", "ss.overall", "lms.overall", "lms.change", "icat.overall"]


def table(*rows, **changes) -> Published:
    given = {"table": "Table 1", "benchmark": "stereoset", "variant": "intrasentence"}
    found = [{"model": model, "method": method, "values": values} for model, method, values in rows]
    return Published.model_validate({**given, "columns": COLUMNS, "rows": found, **changes})


def test_a_row_that_agrees_with_itself_is_not_told():
    # 90 * 40 / 50 = 72, and (60 + 3 * 60) / 4 = 60.
    sound = ["m", "base", [60.0, 60.0, 60.0, 90.0, None, 72.0]]
    assert audit(table(sound, terms={"gender": 1, "race": 3}, items={"gender": 5})) == []


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ([60.0, 60.0, 60.0, 90.0, None, 72.03], "ICAT 72.03 does not follow .* give 72.00$"),
        ([60.0, 64.0, 60.0, 90.0, None, 72.0], "SS 60.0 overall is not the mean .* 63.00"),
        ([61.0, 59.67, 60.0, 90.0, None, 72.0], "ss.gender 61.0 is no share of 5 items"),
    ],
)
def test_each_identity_finds_its_own_fault_and_no_other(values, fault):
    row = ["m", "base", values]
    (told,) = audit(table(row, terms={"gender": 1, "race": 3}, items={"gender": 5}))
    assert re.search(fault, told), told


def test_interchanged_columns_are_found_where_the_others_number_fits():
    rows = (
        ["a", "base", [None, None, 60.0, 90.0, None, 72.0]],
        ["b", "base", [None, None, 60.0, 80.0, None, 64.0]],
        # 89 * 49 / 50 = 87.22, where the change of b is -1 and a's own is -3.
        ["a", "mine", [None, None, 51.0, None, -3.0, 87.22]],
        ["b", "mine", [None, None, 51.0, None, -1.0, 77.42]],
    )
    (told,) = audit(table(*rows))
    assert "mine on a" in told and told.endswith("the LMS change printed for b")


def test_the_known_faults_of_the_paper_are_found_and_no_others():
    told = [line for n in plan_names() if (p := read_plan(n).published) for line in audit(p)]
    assert len(told) == 2
    assert "Mistral-7B-v0.1: ICAT 91.71" in told[0] and "Meta-Llama-3-8B" in told[0]
    assert "Meta-Llama-3-8B: ICAT 89.09" in told[1]


def test_table_3_is_the_specifications(lab):
    """Read from its own table, by position: base, trained itself, carried, for each model."""
    file = lab / "specs" / "benchmarks.md"
    if not file.is_file():
        pytest.skip("the folder of UNSKEW_LAB has no specs/benchmarks.md")
    section = file.read_text().partition("### 19.3")[2].partition("### 19.4")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if "." in line]
    wanted = [[float(cell) for cell in cells[1:]] for cells in lines if len(cells) == 8]
    published = read_plan("biasunlearn-table3").published
    assert published is not None
    assert [row.values for row in published.rows] == wanted
    assert [row.method for row in published.rows] == 2 * [
        "base",
        "biasunlearn",
        "transferred weights",
    ]
    assert ["Mistral" in row.model for row in published.rows] == 3 * [True] + 3 * [False]


def test_table_3_agrees_with_itself():
    """ICAT of all six rows, worked here; the audit has nothing to tell."""
    published = read_plan("biasunlearn-table3").published
    assert published is not None
    assert audit(published) == []
    for row in published.rows:
        *_, ss, lms, icat = row.values
        assert ss is not None and lms is not None
        assert lms * min(ss, 100 - ss) / 50 == pytest.approx(icat, abs=0.02)


def test_rows_of_another_length_are_refused():
    with pytest.raises(ValueError, match="mine on m has 1 values for 6 columns"):
        table(["m", "mine", [1.0]])


def test_a_folder_called_like_the_model_is_that_model():
    assert same_model("openai-community/gpt2-medium", "/models/GPT2-medium/")
    assert not same_model("openai-community/gpt2-medium", "gpt2-large")


def test_published_and_ours_stand_beside_each_other(tmp_path):
    runs = [
        unlearned(tmp_path / str(seed), before=[1, 1, 1, 0], after=after)
        for seed, after in enumerate(([1, 1, 0, 0], [1, 0, 0, 0]))
    ]
    records = [RunRecord.load(run) for run in runs]
    variant = next(r.variant for r in records[0].metrics if r.metric == "ss")
    methods = [Method("mine", tuple(Result(i, r) for i, r in enumerate(records)))]
    ss = [r.find(metric="ss", phase="after", category="overall")[0].value for r in records]
    before = records[0].find(metric="ss", phase="before", category="overall")[0].value
    paper = table(
        ["hub/model", "base", [None, None, 70.0, None, None, None]],
        ["hub/model", "mine", [None, None, 55.0, None, -1.0, None]],
        ["hub/model", "other", [None, None, 60.0, None, None, None]],
        ["hub/elsewhere", "mine", [None, None, 1.0, None, None, None]],
        variant=variant,
    )
    found = {(b.method, b.column): b for b in beside(paper, "here/model", methods)}
    assert len(found) == 4
    assert found["base", "ss.overall"].difference == pytest.approx(before - 70)
    assert found["mine", "ss.overall"].difference == pytest.approx(sum(ss) / 2 - 55)
    assert found["other", "ss.overall"].ours is None

    write_overview(
        methods, tmp_path, title="t", description="d", source="s", published=list(found.values())
    )
    content = json.loads((tmp_path / "overview.json").read_text())["published"]
    assert content[0]["published"] == 70.0 and content[0]["ours"] == before
    for name in ("overview.md", "overview.html"):
        text = (tmp_path / name).read_text()
        assert "Published and ours" in text and f"{before - 70:+.2f}" in text
