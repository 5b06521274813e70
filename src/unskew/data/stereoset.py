"""StereoSet: clusters of a stereotype, an anti-stereotype and an unrelated sentence.

Source: Nadeem, Bethke and Reddy 2021, arXiv 2004.09456; CC BY-SA 4.0.
Departs: an intersentence context without a final stop gets one, and the text is the context, a
space and the sentence, since a causal model needs them in one piece.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unskew.data.completion import BLANK, fill_template, follow
from unskew.data.records import (
    EVALUATION_ONLY,
    Faults,
    Parsed,
    Record,
    read_choice,
    read_optional_text,
    read_text,
)
from unskew.types import Pair, Task

CATEGORIES = ("gender", "profession", "race", "religion")
TASKS: tuple[Task, ...] = ("intrasentence", "intersentence")

_HUB_LABELS = ("anti-stereotype", "stereotype", "unrelated")
_LABELS = {label: label for label in _HUB_LABELS}
_SENTENCE_ENDS = (".", "!", "?")

Sentences = Mapping[str, tuple[str, str]]
"""Label to id and text of the sentence."""


def clusters(value: object) -> list[Record] | None:
    """Clusters of a whole JSON file, original or a bare list; None where it is neither."""
    if isinstance(value, Mapping) and isinstance(value.get("data"), Mapping):
        return [
            Record(f"{task}[{i}]", cluster, task=str(task))
            for task, rows in value["data"].items()
            for i, cluster in enumerate(rows if isinstance(rows, list) else [rows], start=1)
        ]
    if isinstance(value, list) and value and is_cluster(value[0]):
        return [Record(f"[{i}]", cluster) for i, cluster in enumerate(value, start=1)]
    return None


def is_cluster(value: object) -> bool:
    """Whether a row has the fields that only StereoSet has."""
    return isinstance(value, Mapping) and {"context", "sentences"} <= set(value)


def parse(records: Sequence[Record], faults: Faults, *, strict: bool = False) -> Parsed:
    """Turn clusters into pairs, in their order.

    A cluster whose context cannot be cut at its BLANK, or whose two sentences are the same, is
    kept and tagged `evaluation_only`: the benchmark is defined on all clusters.

    Args:
        records: From `clusters`, or rows in the layout of the hub.
        faults: Takes every fault; a cluster with a fault gives no pair.
        strict: Also tag clusters whose sentences do not end like their context.
    """
    pairs: list[Pair] = []
    unfit: dict[str, str] = {}
    texts_by_id: dict[str, str] = {}
    for record in records:
        pair, reason = _read_cluster(record, faults, strict, texts_by_id)
        if pair is None:
            continue
        pairs.append(pair)
        if reason is not None:
            unfit[pair.id] = reason
    return Parsed(tuple(pairs), unfit, {})


def _read_cluster(
    record: Record, faults: Faults, strict: bool, texts_by_id: dict[str, str]
) -> tuple[Pair | None, str | None]:
    row, cluster = record.row, record.value
    if not isinstance(cluster, Mapping):
        faults.add(row, "cluster", f"is {type(cluster).__name__}", "give a JSON object")
        return None, None
    identity = read_text(cluster, "id", row, faults)
    if identity is not None:
        row = f"{row} id={identity}"
        identity = identity if faults.is_new_id(identity, row) else None
    before = len(faults.lines)
    context = read_text(cluster, "context", row, faults)
    target = read_optional_text(cluster, "target", row, faults)
    category = read_choice(
        cluster.get("bias_type"), {c: c for c in CATEGORIES}, (row, "bias_type"), faults
    )
    sentences = _read_sentences(cluster.get("sentences"), row, faults, texts_by_id)
    task = _read_task(record.task, context, row, faults)
    if context is None or task is None or identity is None or len(faults.lines) > before:
        return None, None
    start, texts, reason = _texts(task, context, sentences, strict)
    pair = Pair(
        id=identity,
        category=str(category),
        target=target or identity,
        stereotype=texts["stereotype"],
        anti_stereotype=texts["anti-stereotype"],
        unrelated=texts.get("unrelated"),
        completion_start=start,
        task=task,
        sentence_ids=tuple(sentences[label][0] for label in texts),
        tags=(EVALUATION_ONLY,) if reason else (),
    )
    return pair, reason


def _read_task(named: str | None, context: str | None, row: str, faults: Faults) -> Task | None:
    """The task the file names, else the one the context shows."""
    if named is not None:
        task = read_choice(named, {t: t for t in TASKS}, (row, "task"), faults)
    else:
        task = "intrasentence" if BLANK in (context or "") else "intersentence"
    if task == "intrasentence" and context is not None and BLANK not in context:
        faults.add(row, "context", "has no BLANK", "put BLANK where the sentences differ")
    return next((t for t in TASKS if t == task), None)


def _read_sentences(
    value: object, row: str, faults: Faults, texts_by_id: dict[str, str]
) -> Sentences:
    """Id and text by label; whatever is wrong is noted in `faults`."""
    found: dict[str, tuple[str, str]] = {}
    before = len(faults.lines)
    for i, sentence in enumerate(_sentence_list(value, row, faults), start=1):
        field = f"sentences[{i}]"
        if not isinstance(sentence, Mapping):
            faults.add(row, field, f"is {type(sentence).__name__}", "give a JSON object")
            continue
        identity = read_text(sentence, "id", f"{row} {field}", faults)
        text = read_text(sentence, "sentence", f"{row} {field}", faults)
        label = _read_label(sentence.get("gold_label"), (row, f"{field}.gold_label"), faults)
        if identity is None or text is None or label is None:
            continue
        if label in found:
            faults.add(row, field, f"a second sentence labelled {label!r}", "keep one of each")
        if texts_by_id.setdefault(identity, text) != text:
            fault = f"{identity!r} is also the id of another text"
            faults.add(row, f"{field}.id", fault, "give every sentence its own")
        found[label] = (identity, text)
    if len(faults.lines) > before:
        return found
    missing = [label for label in ("stereotype", "anti-stereotype") if label not in found]
    if missing:
        mend = "add it, or delete the cluster"
        faults.add(row, "sentences", f"no sentence is labelled {missing[0]!r}", mend)
    return found


def _sentence_list(value: object, row: str, faults: Faults) -> list[object]:
    """The sentences as a list of objects, whichever of the two layouts the file uses."""
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        fault = "is missing" if value is None else f"is {type(value).__name__}"
        faults.add(row, "sentences", fault, "give a list of three sentences")
        return []
    columns = [value.get(name) for name in ("id", "sentence", "gold_label")]
    lists = [column if isinstance(column, list) else [] for column in columns]
    if len({len(column) for column in lists}) > 1 or not lists[0]:
        mend = "give id, sentence and gold_label as lists of one length"
        faults.add(row, "sentences", "its lists differ in length or are missing", mend)
        return []
    return [
        {"id": identity, "sentence": text, "gold_label": label}
        for identity, text, label in zip(*lists, strict=True)
    ]


def _read_label(value: object, where: tuple[str, str], faults: Faults) -> str | None:
    """A label by its name, or by its number on the hub: 0 anti-, 1 stereotype, 2 unrelated."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(_HUB_LABELS):
        return _HUB_LABELS[value]
    return read_choice(value, _LABELS, where, faults)


def _texts(
    task: Task, context: str, sentences: Sentences, strict: bool
) -> tuple[int, dict[str, str], str | None]:
    """Completion start, texts in the order of `Pair.texts`, and why not to train on them."""
    order = [
        label for label in ("stereotype", "anti-stereotype", "unrelated") if label in sentences
    ]
    texts = tuple(sentences[label][1] for label in order)
    reason = None
    if task == "intrasentence":
        start, reason = fill_template(context, texts, strict=strict)
    else:
        ended = context.rstrip().endswith(_SENTENCE_ENDS)
        start, texts = follow(context if ended else f"{context.rstrip()}.", texts)
    if texts[0] == texts[1]:
        reason = "stereotype and anti-stereotype are the same text"
    return start, dict(zip(order, texts, strict=True)), reason
