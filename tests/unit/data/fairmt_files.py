"""Invented dialogues in the two layouts of FairMT-Bench."""

from __future__ import annotations

import gzip
import json


def rows(count, spelling="{}-turn Conv", about="tarns"):
    return [
        {spelling.format(turn): f"Turn {turn} of {i} about {about}?" for turn in range(5)}
        for i in range(count)
    ]


def write_by_group(root, counts):
    """FairMT-10K's layout: (task, group) -> number of dialogues."""
    for (task, group), count in counts.items():
        folder = root / "Stereotype" / task
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(rows(count, about=group))
        with gzip.open(folder / f"prompt_{group}.json.gz", "wt") as file:
            file.write(text)
    return root / "Stereotype"


def write_mixed(root, counts):
    """FairMT-1K's layout: task -> number of dialogues."""
    root.mkdir(parents=True, exist_ok=True)
    for task, count in counts.items():
        (root / f"{task}.json").write_text(json.dumps(rows(count, "{}", task)))
    return root
