"""Cards, tables and CSV carry the record's numbers, and hostile text as text."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
import yaml

from tests.unit.reports.example_record import HOSTILE, example_record, hostile_record, ss_row
from unskew.reports.card import model_card, write_model_card
from unskew.reports.formatting import format_interval, format_value, unit_suffix
from unskew.reports.render import (
    escape_markdown,
    markdown_table,
    metrics_csv,
    metrics_markdown,
)


def front_matter(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n")[1])


def test_front_matter_is_what_the_hub_expects() -> None:
    front = front_matter(model_card(example_record(), name="me/even", method="M."))
    assert front["library_name"] == "peft"
    assert front["base_model"] == "openai-community/gpt2-medium"
    assert "biasunlearn" in front["tags"]  # type: ignore[operator]
    index = front["model-index"]
    assert isinstance(index, list)
    first = index[0]["results"][0]
    assert index[0]["name"] == "me/even"
    assert first["dataset"] == {
        "type": "stereoset",
        "name": "stereoset intrasentence",
        "split": "report",
    }
    assert first["metrics"][0]["value"] == 50.8


def test_a_deltas_card_says_how_to_bake_it_in(tmp_path: Path) -> None:
    card = write_model_card(example_record(), tmp_path, name="me/even", method="SDU.").read_text()
    assert front_matter(card)["library_name"] == "unskew" and "PeftModel" not in card
    command = "unskew merge --artifact me/even --model openai-community/gpt2-medium"
    assert f"{command} --output-dir merged" in card


def test_card_has_all_sections_and_the_interval(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").touch()
    path = write_model_card(
        example_record(), tmp_path, name="me/even", method="Negative preference.", paper="Liu 2025."
    )
    card = path.read_text()
    assert path.name == "README.md"
    for text in (
        "## Quick start",
        "PeftModel.from_pretrained(model, 'me/even')",
        "Negative preference. Source: Liu 2025.\n",
        "| StereoSet stereotype score (SS), gender | 65.6 %",
        "50.8 % \\[48.9, 52.7]",
        "- Relearning attack: not asked for",
        "- Probability left for fitting words: no numbers",
        "transformers 5.23.0",
    ):
        assert text in card


def test_hostile_text_breaks_neither_yaml_nor_markdown() -> None:
    card = model_card(hostile_record(), name=HOSTILE, method=f"- {HOSTILE}", paper=HOSTILE)
    front = front_matter(card)
    assert "base_model" not in front
    assert HOSTILE in front["tags"]  # type: ignore[operator]
    body = card.split("---\n", 2)[2]
    outside = re.sub(r"^(`{3,})\w+\n.*?^\1$", "", body, flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in outside
    assert "\n# h" not in outside
    assert "\n- &lt;script" not in outside.split("## Method")[1].split("##")[0]
    table = [line for line in outside.splitlines() if line.startswith("| ")]
    bars = {line.replace("\\\\", "").replace("\\|", "").count("|") for line in table[:12]}
    assert bars == {6}


@pytest.mark.parametrize(
    "name", ["/home/me/model", "./model", "world", "world-questions", "C:\\model", "a/b/c"]
)
def test_a_path_is_no_base_model(name: str) -> None:
    record = example_record()
    model = record.model.model_copy(update={"name_or_path": name})
    card = model_card(record.model_copy(update={"model": model}), name="n", method="m")
    assert "base_model" not in front_matter(card)
    assert name not in card.split("## How it was made")[0] or name.startswith("world")


def test_a_command_cannot_close_its_fence() -> None:
    record = example_record().model_copy(update={"reproduce": "unskew\n```\n# injected"})
    assert "````sh\nunskew\n```\n# injected\n````" in model_card(record, name="n", method="m")


def test_escaping() -> None:
    assert escape_markdown("a|b\nc") == "a\\|b c"
    assert escape_markdown("<b> & `x` [l](u) $y$") == ("&lt;b&gt; &amp; \\`x\\` \\[l](u) \\$y\\$")
    assert escape_markdown("- item") == "\\- item"
    assert markdown_table(["a", "b"], [["1|", "2"]]) == "| a | b |\n| --- | --- |\n| 1\\| | 2 |"


def test_csv_holds_every_row_exactly() -> None:
    record = hostile_record()
    read = list(csv.DictReader(io.StringIO(metrics_csv(record), newline="")))
    assert len(read) == len(record.metrics)
    for line, row in zip(read, record.metrics, strict=True):
        assert float(line["value"]) == row.value
        assert line["category"] == row.category
        assert line["ci_low"] == ("" if row.ci_low is None else str(row.ci_low))


def test_csv_runs_no_formula() -> None:
    record = example_record().model_copy(update={"metrics": [ss_row("after", "=1+1", 51.0)]})
    assert ",'=1+1," in metrics_csv(record)


def test_unmeasured_is_said_and_never_zero() -> None:
    line = next(x for x in metrics_markdown(example_record()).splitlines() if "fitting words" in x)
    assert line.count("not measured") == 3
    assert "0" not in line


@pytest.mark.parametrize(
    ("value", "unit", "signed", "text"),
    [
        (62.74, "%", False, "62.7"),
        (-1.25, "%", True, "\u22121.2"),
        (1.0, "%", True, "+1.0"),
        (21.42, "ppl", False, "21.4"),
        (1234.5, "ppl", False, "1234.5"),
        (0.0123, "nats", False, "0.012"),
        (0.00412, "nats", False, "0.0041"),
        (0.0, "nats", False, "0"),
        (-0.32, "nats", True, "\u22120.320"),
    ],
)
def test_numbers(value: float, unit: str, signed: bool, text: str) -> None:
    assert format_value(value, unit, signed=signed) == text


def test_units_and_intervals() -> None:
    assert (unit_suffix("%"), unit_suffix("ppl"), unit_suffix("")) == ("\u00a0%", "", "")
    assert format_interval(ss_row("after", "race", 50.0, width=2.0)) == "[48.0, 52.0]"
    none = ss_row("after", "race", 50.0, ci_low=None, ci_high=None)
    assert format_interval(none) == "no interval"
    assert json.loads(none.model_dump_json())["ci_low"] is None
