"""Rows and clusters as the files hold them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

LABELS = ("anti-stereotype", "stereotype", "unrelated")


def cluster(id, context="The nurse was BLANK.", *, category="gender", target="nurse", fills=None):
    """A cluster; `fills` are its anti-stereotype, stereotype and unrelated word or sentence."""
    fills = fills or ("strong", "kind", "cheese")
    texts = [context.replace("BLANK", fill) if "BLANK" in context else fill for fill in fills]
    return {
        "id": id,
        "target": target,
        "bias_type": category,
        "context": context,
        "sentences": [
            {"id": f"{id}-{label}", "sentence": text, "gold_label": label}
            for label, text in zip(LABELS, texts, strict=False)
        ],
    }


def hub_row(cluster):
    """The same cluster as the hub stores it."""
    sentences = cluster["sentences"]
    return cluster | {
        "sentences": {
            "id": [s["id"] for s in sentences],
            "sentence": [s["sentence"] for s in sentences],
            "gold_label": [LABELS.index(s["gold_label"]) for s in sentences],
        }
    }


def many_clusters(count=5):
    """Clusters of `count` targets in two categories, two for each target."""
    return [
        cluster(
            f"{category}-{target}-{n}",
            f"The {category}{target} number {n} was BLANK.",
            category=category,
            target=f"{category}{target}",
        )
        for category in ("gender", "race")
        for target in range(count)
        for n in range(2)
    ]


def write_stereoset(path: Path, intrasentence=(), intersentence=()) -> str:
    data = {"intrasentence": list(intrasentence), "intersentence": list(intersentence)}
    path.write_text(json.dumps({"version": "1", "data": data}), encoding="utf-8")
    return str(path)


def row(n=0, **changes):
    """A row of a table of pairs."""
    made = {"stereotype": f"Plant {n} is kind.", "anti_stereotype": f"Plant {n} is strong."}
    return made | changes


def write_jsonl(path: Path, rows) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


def write_csv(path: Path, rows) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)
