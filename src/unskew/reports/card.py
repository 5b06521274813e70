"""The model card of what a run left, with front matter that the Hugging Face hub reads."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from unskew.files import write_text
from unskew.reports.findings import AFTER, BEFORE, is_comparison, measures, phases, rows
from unskew.reports.guards import guard_rows
from unskew.reports.record import RunRecord
from unskew.reports.render import escape_markdown, markdown_table, metrics_markdown
from unskew.reports.verdict import verdict
from unskew.types import OVERALL
from unskew.world_names import WORLDS

CARD_FILE, MODEL = "README.md", "model"
_KINDS = (
    ("adapter_config.json", "adapter"),
    ("delta.safetensors", "delta"),
    ("projection.json", "projection"),
    ("decoder.json", "decoder"),
    ("config.json", MODEL),
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_LIBRARIES = {"adapter": "peft", MODEL: "transformers"}
_RELATIONS = {"adapter": "adapter", MODEL: "finetune"}
"""What the hub calls a repository's relation to its base; it has no word for the other kinds."""


def kind_of(folder: Path) -> str | None:
    """What lies in a folder: `adapter`, `delta`, `projection`, `decoder`, `model`; None if none."""
    return next((kind for file, kind in _KINDS if (folder / file).is_file()), None)


def write_model_card(
    record: RunRecord,
    folder: Path,
    *,
    name: str,
    method: str,
    paper: str | None = None,
    licence: str | None = None,
) -> Path:
    """Write `README.md` beside a saved adapter, delta, projection, decoder or whole model.

    Args:
        record: The record of the run that made it.
        folder: Folder of the artefact.
        name: Name of the artefact, e.g. its hub id.
        method: What was done, in a sentence.
        paper: Source of the method, e.g. `Liu et al. 2025, arXiv 2509.25673`.
        licence: The hub's word for it, e.g. `apache-2.0`; left out if None.

    Raises:
        StorageError: It could not be written.
    """
    kind = kind_of(folder) or folder.name
    card = model_card(record, name=name, method=method, paper=paper, kind=kind, licence=licence)
    return write_text(folder / CARD_FILE, card)


def model_card(
    record: RunRecord,
    *,
    name: str,
    method: str,
    paper: str | None = None,
    kind: str = "adapter",
    licence: str | None = None,
) -> str:
    """The model card of what `kind_of` tells apart; see `write_model_card`."""
    front = yaml.safe_dump(
        _front_matter(record, name, kind, licence),
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


def _front_matter(record: RunRecord, name: str, kind: str, licence: str | None) -> dict[str, Any]:
    front: dict[str, Any] = {"library_name": _LIBRARIES.get(kind, "unskew")}
    if licence is not None:
        front["license"] = licence
    base = _hub_id(record.model.name_or_path) if record.model is not None else None
    if base is not None:
        front["base_model"] = base
        front |= {"base_model_relation": _RELATIONS[kind]} if kind in _RELATIONS else {}
    # A file is named by its stem, so a stroke is that of a hub id.
    if "/" in record.data.name:
        front["datasets"] = [record.data.name]
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
    # A path on somebody's machine says nothing to others; a world is no model of the hub.
    is_id = name_or_path not in WORLDS and _HUB_ID.fullmatch(name_or_path) is not None
    return name_or_path if is_id and not Path(name_or_path).exists() else None


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
    if kind == MODEL:
        return _fenced(_load(name), "python")
    if kind == "adapter":
        return _fenced(_quick_start(record, name), "python")
    return _decode(record, name) if kind == "decoder" else _merge_first(record, name, kind)


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


def _merge_first(record: RunRecord, name: str, kind: str) -> str:
    command = ["unskew", "merge", "--artifact", name, "--model", _base_of(record)]
    what = (
        "A map of hidden states"
        if kind == "projection"
        else ("A sparse change of weights, bitwise nothing elsewhere")
    )
    return (
        f"{what}. Baked into its base it is a model folder that plain transformers loads:\n\n"
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


def _load(name: str) -> str:
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"tokenizer = AutoTokenizer.from_pretrained({name!r})\n"
        f"model = AutoModelForCausalLM.from_pretrained({name!r})"
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
