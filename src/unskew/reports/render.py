"""A record as text for other tools: model card, Markdown table, CSV."""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from unskew.files import write_text
from unskew.reports.findings import (
    AFTER,
    BEFORE,
    Row,
    is_comparison,
    measures,
    phases,
    rows,
)
from unskew.reports.formatting import MISSING, format_interval, format_value, unit_suffix
from unskew.reports.guards import guard_rows
from unskew.reports.record import RunRecord
from unskew.reports.verdict import verdict
from unskew.types import OVERALL

CARD_FILE, ADAPTER_CONFIG = "README.md", "adapter_config.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_MARKUP = re.compile(r"([\\`*_\[|~$#]|^[-+=])")
_COLUMNS = (
    "phase",
    "benchmark",
    "variant",
    "split",
    "category",
    "metric",
    "value",
    "n",
    "ci_low",
    "ci_high",
    "ideal",
    "better",
    "unit",
)


def escape_markdown(text: str) -> str:
    """Text that Markdown and HTML show as it stands, on one line."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        flat = flat.replace(plain, entity)
    return _MARKUP.sub(r"\\\1", flat)


def markdown_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table; every cell is escaped.

    Args:
        header: Names of the columns.
        body: Rows of as many cells.
    """
    lines = [list(header), ["---"] * len(header), *body]
    return "\n".join(
        "| " + " | ".join(c if i == 1 else escape_markdown(c) for c in line) + " |"
        for i, line in enumerate(lines)
    )


def metrics_csv(record: RunRecord) -> str:
    """All metric rows as CSV, numbers in full precision, empty where there is none.

    A text that a spreadsheet would run as a formula gets a leading apostrophe.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in record.metrics:
        writer.writerow([csv_cell(getattr(row, name)) for name in _COLUMNS])
    return out.getvalue()


def csv_cell(value: str | float | None) -> str | float | None:
    """A cell that no spreadsheet runs as a formula."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{value}"
    return value


def metrics_markdown(record: RunRecord) -> str:
    """Preferences and guards on the report split, one column for each phase, with intervals."""
    shown = phases(record)
    body = [
        (f"{measure.title}, {row.name}", row)
        for measure in measures(record)
        for row in rows(record, measure)
    ]
    body += [(g.row.name, g.row) for g in guard_rows(record)]
    return markdown_table(
        ["", *shown], [[name, *(_cell(row, phase) for phase in shown)] for name, row in body]
    )


def _cell(row: Row, phase: str) -> str:
    m = row.by_phase.get(phase)
    if m is None:
        return MISSING
    return f"{format_value(m.value, m.unit)}{unit_suffix(m.unit)} {format_interval(m)}"


def write_model_card(
    record: RunRecord, folder: Path, *, name: str, method: str, paper: str | None = None
) -> Path:
    """Write `README.md` beside a saved adapter, weight delta or decoder.

    Args:
        record: The record of the run that made it.
        folder: Folder of the artefact.
        name: Name of the artefact, e.g. its hub id.
        method: What was done, in a sentence.
        paper: Source of the method, e.g. `Liu et al. 2025, arXiv 2509.25673`.

    Raises:
        StorageError: It could not be written.
    """
    kind = "adapter" if (folder / ADAPTER_CONFIG).is_file() else folder.name
    card = model_card(record, name=name, method=method, paper=paper, kind=kind)
    return write_text(folder / CARD_FILE, card)


def model_card(
    record: RunRecord,
    *,
    name: str,
    method: str,
    paper: str | None = None,
    kind: str = "adapter",
) -> str:
    """The model card of a saved `adapter`, `delta` or `decoder`; see `write_model_card`."""
    front = yaml.safe_dump(
        _front_matter(record, name, is_adapter=kind == "adapter"),
        sort_keys=False,
        allow_unicode=True,
        width=1000,
    )
    source = f" Source: {escape_markdown(paper.rstrip('.'))}." if paper else ""
    sections = [
        f"# {escape_markdown(name)}",
        escape_markdown(verdict(record).sentence),
        "## Quick start",
        _use(record, name, kind),
        "## Method",
        f"{escape_markdown(method)}{source}",
        "## Before and after",
        "On the report split, which neither training nor the choice of the checkpoint has seen; "
        "brackets are 95 % intervals; a preference of 50 % is even-handed.",
        metrics_markdown(record),
        "## What was not measured",
        _not_measured(record),
        "## How it was made",
        _fenced(record.reproduce, "sh"),
        _provenance(record),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def _front_matter(record: RunRecord, name: str, *, is_adapter: bool) -> dict[str, Any]:
    front: dict[str, Any] = {"library_name": "peft" if is_adapter else "unskew"}
    base = _hub_id(record.model.name_or_path) if record.model is not None else None
    if base is not None:
        front["base_model"] = base
    front["pipeline_tag"] = "text-generation"
    front["tags"] = [
        "unskew",
        "unlearning",
        "debiasing",
        *([record.recipe] if record.recipe else []),
    ]
    results = _results(record)
    if results:
        front["model-index"] = [{"name": name, "results": results}]
    return front


def _hub_id(name_or_path: str) -> str | None:
    # A path on somebody's machine says nothing to others; `world` is no model of the hub.
    if name_or_path == "world" or not _HUB_ID.fullmatch(name_or_path):
        return None
    return name_or_path


def _results(record: RunRecord) -> list[dict[str, Any]]:
    phase = AFTER if is_comparison(record) else (phases(record) or [BEFORE])[0]
    overall = [r for m in measures(record) for r in rows(record, m) if r.name == OVERALL]
    shown = overall + [g.row for g in guard_rows(record)]
    return [
        {
            "task": {"type": "text-generation"},
            "dataset": {
                "type": m.benchmark,
                "name": f"{m.benchmark} {m.variant}".strip(),
                "split": m.split,
            },
            "metrics": [{"type": m.metric, "value": m.value, "name": f"{m.metric} ({m.unit})"}],
        }
        for row in shown
        if (m := row.by_phase.get(phase)) is not None
    ]


def _base_of(record: RunRecord) -> str:
    base = record.model.name_or_path if record.model is not None else ""
    return "path/to/the/base/model" if _hub_id(base) is None else base


def _use(record: RunRecord, name: str, kind: str) -> str:
    if kind == "adapter":
        return _fenced(_quick_start(record, name), "python")
    return _decode(record, name) if kind == "decoder" else _merge_first(record, name)


def _decode(record: RunRecord, name: str) -> str:
    code = (
        "from unskew.decoding import attach_decoder\n"
        "from unskew.models.load import load_model\n\n"
        f"decoder = attach_decoder(load_model({_base_of(record)!r}), {name!r})\n"
        "decoder.model.generate(\n"
        "    **inputs, logits_processor=[decoder.processor(inputs['attention_mask'])]\n"
        ")"
    )
    return (
        "Settings of a decoder: no weight changes, and each token takes "
        f"{record.forwards_per_token or 1:.3g} forward passes. Prompts are padded on the left:\n\n"
        + _fenced(code, "python")
    )


def _merge_first(record: RunRecord, name: str) -> str:
    command = ["unskew", "merge", "--artifact", name, "--model", _base_of(record)]
    return (
        "A sparse change of weights, bitwise nothing elsewhere. Baked into its base it is a model "
        "folder that plain transformers loads:\n\n"
        + _fenced(shlex.join([*command, "--output-dir", "merged"]), "sh")
    )


def _quick_start(record: RunRecord, name: str) -> str:
    base = _base_of(record)
    return (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({base!r})\n"
        f"model = AutoModelForCausalLM.from_pretrained({base!r})\n"
        f"model = PeftModel.from_pretrained(model, {name!r})"
    )


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _not_measured(record: RunRecord) -> str:
    items = [f"- {escape_markdown(i.what)}: {escape_markdown(i.why)}" for i in record.not_measured]
    items += [
        f"- {escape_markdown(g.row.name)}: no numbers on the report split"
        for g in guard_rows(record)
        if not g.row.by_phase
    ]
    return "\n".join(items) or "The run lists nothing."


def _provenance(record: RunRecord) -> str:
    versions = {"unskew": record.unskew_version, "Python": record.environment.python}
    versions |= record.environment.packages
    facts = [
        ("Data", f"{record.data.name} (SHA-256 {record.data.sha256})"),
        ("Seed", str(record.seed)),
        ("Base model fingerprint", record.model.fingerprint if record.model else "none"),
        ("Configuration SHA-256", record.config_sha256),
        ("Versions", ", ".join(f"{k} {v}" for k, v in versions.items())),
    ]
    return markdown_table(["Fact", "Value"], facts)
