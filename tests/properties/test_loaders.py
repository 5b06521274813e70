"""Whatever a file holds, the loaders return or raise an error of ours; splits never leak."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given, settings
from hypothesis import strategies as st

from unskew.data.inspect import inspect_dataset, summary_lines, validate
from unskew.data.load import load_dataset
from unskew.data.splits import SplitSettings, check_disjoint, fits_training, split_pairs
from unskew.errors import DataError, UnskewError
from unskew.types import Pair

FORMATS = ("auto", "stereoset", "crows_pairs", "jsonl", "csv")
ENDINGS = (".json", ".jsonl", ".csv", ".txt", ".json.gz", "")

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
# Text with lone surrogates too: JSON can write them, UTF-8 cannot.
any_text = st.text(st.characters(exclude_categories=())) | st.sampled_from(["BLANK", "A BLANK", ""])
FIELDS = """id target bias_type context sentences sentence gold_label data intrasentence
    intersentence stereotype anti_stereotype unrelated category split sent_more sent_less"""
keys = st.sampled_from(FIELDS.split())
labels = st.sampled_from(["stereotype", "anti-stereotype", "unrelated", "gender", "race", 0, 1, 2])
values = st.recursive(
    scalars | any_text | labels,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=30,
)
sentence = st.fixed_dictionaries({"id": any_text, "sentence": any_text, "gold_label": labels})
cluster = st.fixed_dictionaries(
    {
        "id": any_text | st.integers(0, 3),
        "target": any_text | st.none(),
        "bias_type": labels,
        "context": any_text,
        "sentences": st.lists(sentence, max_size=4) | values,
    }
)
cells = st.lists(st.lists(any_text, min_size=1, max_size=5), max_size=5)
headers = st.lists(keys | st.just(""), min_size=1, max_size=5)


def agree(content: bytes, ending: str, format: str) -> None:
    """Load and validate: both come to an end, and they agree whether there is a fault."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"data{ending}"
        path.write_bytes(content)
        try:
            problems = validate(str(path), format)
        except UnskewError:
            problems = None
        try:
            data = load_dataset(str(path), format=format, splits=None)
        except DataError as error:
            assert problems == error.problems or "there is no pair" in str(error)
            assert problems
        except UnskewError:
            assert problems is None
        else:
            assert problems == ()
            assert summary_lines(inspect_dataset(data))
            for pair in data.splits["report"].pairs:
                assert all(text[: pair.completion_start] == pair.context for text in pair.texts)
                assert all(text[pair.completion_start :].strip() for text in pair.texts)


@given(st.binary(max_size=200), st.sampled_from(ENDINGS), st.sampled_from(FORMATS))
@example(b"\x1f\x8b\x08\x00", ".json", "auto")
@example(b'{"data": {"intrasentence": {}}}', ".json", "auto")
@example(b"1" * 5000, ".json", "auto")
def test_arbitrary_bytes_end_in_data_or_in_our_error(content, ending, format):
    agree(content, ending, format)


@settings(max_examples=150)
@given(
    values
    | st.fixed_dictionaries({"data": st.dictionaries(keys, st.lists(cluster, max_size=3))})
    | st.lists(cluster, max_size=3),
    st.sampled_from(ENDINGS[:4]),
    st.sampled_from(FORMATS),
)
@example({"bias_type": []}, ".json", "crows_pairs")
def test_arbitrary_json_ends_in_data_or_in_our_error(value, ending, format):
    agree(json.dumps(value).encode(), ending, format)


@given(headers, cells, st.sampled_from(FORMATS))
def test_arbitrary_csv_ends_in_data_or_in_our_error(header, rows, format):
    lines = [",".join(header), *(",".join(row) for row in rows)]
    agree("\n".join(lines).encode("utf-8", "surrogatepass"), ".csv", format)


@given(st.text(max_size=30))
def test_arbitrary_names_end_in_our_error(name):
    path = f"{name}/no-such-folder-here/x.json"
    assert validate(path)


faults = {
    "bias_type": "colour",
    "context": 5.0,
    "id": None,
    "sentences": 3,
}


@given(st.lists(st.sampled_from(sorted(faults)) | st.none(), min_size=1, max_size=8))
def test_every_planted_fault_is_found_once(planted):
    rows = []
    for i, field in enumerate(planted):
        made = {"id": f"c{i}", "target": "t", "bias_type": "race", "context": "It is BLANK"}
        made["sentences"] = [
            {"id": f"{i}{label}", "sentence": f"It is {label}", "gold_label": label}
            for label in ("stereotype", "anti-stereotype")
        ]
        rows.append(made | ({field: faults[field]} if field else {}))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_text(json.dumps({"data": {"intrasentence": rows}}))
        lines = validate(str(path))
    expected = [(i, field) for i, field in enumerate(planted, start=1) if field]
    assert len(lines) == len(expected)
    for line, (i, field) in zip(lines, expected, strict=True):
        assert f"intrasentence[{i}]" in line and f" {field}: " in line


def make_pair(number: int, category: str, target: int, text: int, is_fit: bool) -> Pair:
    context = f"Text {text} is"
    return Pair(
        id=f"p{number}",
        category=category,
        target=f"{category}{target}",
        stereotype=f"{context} kind.",
        anti_stereotype=f"{context} strong.",
        unrelated=None,
        completion_start=len(context),
        tags=() if is_fit else ("evaluation_only",),
    )


drawn = st.lists(
    st.tuples(
        st.sampled_from(["race", "age"]),
        st.integers(0, 20),
        st.integers(0, 200),
        st.sampled_from([True, True, True, False]),
    ),
    min_size=8,
    max_size=60,
)


@settings(max_examples=150)
@given(drawn, st.integers(0, 5), st.randoms(use_true_random=False))
def test_splits_are_disjoint_cover_all_and_forget_the_order(rows, seed, random):
    pairs = [make_pair(i, *row) for i, row in enumerate(rows)]
    shuffled = random.sample(pairs, len(pairs))
    try:
        splits = split_pairs(pairs, SplitSettings(seed=seed))
    except DataError as error:
        assert "too few targets" in str(error) or "share texts" in str(error)
        return
    assert split_pairs(shuffled, SplitSettings(seed=seed)) == splits
    check_disjoint(splits)
    placed = [pair.id for found in splits.values() for pair in found]
    assert len(placed) == len(set(placed))
    assert {p.id for p in pairs if fits_training(p)} <= set(placed)
    assert all(fits_training(p) for s in ("train", "select") for p in splits[s])
    targets = {s: {(p.category, p.target) for p in found} for s, found in splits.items()}
    assert not targets["train"] & targets["select"]
    assert not (targets["train"] | targets["select"]) & targets["report"]
    for category in {p.category for p in pairs}:
        assert all(any(p.category == category for p in found) for found in splits.values())
