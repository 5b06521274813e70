from unskew.data.inspect import Lengths, inspect_dataset, summary_lines
from unskew.data.load import load_dataset
from unskew.types import Dataset, Document, Drop, Examples

from .rows import cluster, row, write_jsonl, write_stereoset


def test_counts_lengths_drops_and_samples(tmp_path):
    rows = [
        cluster("1", "A BLANK b", fills=("c", "dd", "e f")),
        cluster("2", "A BLANK z", fills=("c", "dd", "e f")),
        cluster("3", "A BLANK y", fills=("c", "dd", "e f"), target="man", category="race"),
    ]
    data = load_dataset(write_stereoset(tmp_path / "a.json", rows), splits=None)
    data = Dataset(data.name, data.splits, (Drop("x", "why"), Drop("y", "why")), "0f", "here")
    summary = inspect_dataset(data)
    assert summary.pairs == {
        ("report", "gender", "intrasentence"): 2,
        ("report", "race", "intrasentence"): 1,
    }
    assert summary.targets == {("report", "gender"): 1, ("report", "race"): 1}
    assert summary.characters == Lengths(5, 6, 7)
    assert summary.words == Lengths(3, 3, 4)
    assert summary.drops == {"why": ("x", "y")}
    assert [pair.id for pair in summary.samples["gender"]] == ["1", "2"]
    lines = summary_lines(summary)
    assert "report  gender    intrasentence  2      1" in lines
    assert "not trained on, 2: why (x, y)" in lines
    assert "  anti-stereotype 'A' | ' c b'" in lines


def test_a_target_in_two_splits_is_shown(tmp_path):
    rows = [row(n, target="plant", split=s) for n, s in enumerate(("train", "select", "report"))]
    rows.append(row(9, target="stone", category="other", split="train"))
    summary = inspect_dataset(load_dataset(write_jsonl(tmp_path / "a.jsonl", rows)))
    assert summary.shared_targets == {"uncategorised": 1}
    assert "uncategorised: 1 targets stand in more than one split" in summary_lines(summary)


def test_a_data_set_without_pairs_has_no_lengths():
    splits = {"report": Examples(documents=(Document("d", "text"),))}
    summary = inspect_dataset(Dataset("plain", splits))
    assert summary.characters is None
    assert summary_lines(summary) == ["plain  (made here)", "report: 1 documents"]
