"""`transfer` beyond an adapter carried over whole; see also `test_scoring.py`."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tests.end_to_end.test_scoring import merged, stereoset, weights
from unskew import transferring
from unskew.data.load import load_dataset
from unskew.hub.artifacts import digests, read_manifest, read_seen, write_seen
from unskew.hub.changes import changes_in
from unskew.hub.deltas import load_delta, save_delta
from unskew.models.deltas import sparse
from unskew.models.load import load_model
from unskew.reports.record import RunRecord
from unskew.reports.storage import read_samples


@pytest.fixture(scope="module")
def delta(story, straight, tmp_path_factory):
    """What the straight run changed, as a sparse delta: the larger half of every tensor."""
    base = load_model(str(story.biased), device="cpu")
    adapter = straight / "adapter"
    changes = {
        name: sparse(change, change.abs() > change.abs().median())
        for name, change in changes_in(base, adapter).items()
    }
    base = load_model(str(story.biased), device="cpu")
    folder = tmp_path_factory.mktemp("delta") / "delta"
    save_delta(changes, base.model, folder, read_manifest(adapter), read_seen(adapter))
    return folder


def test_a_delta_is_carried_and_is_the_siblings_own(here, story, delta, tmp_path):
    words = ["--artifact", str(delta), "--model", str(story.sibling), "--data", str(story.pairs)]
    out = tmp_path / "carried"
    said = here("transfer", *words, "--output-dir", str(out), "--scale", "0.5")
    assert said.code == 0, said.err
    whole, carried = load_delta(delta), load_delta(out / "delta")
    assert {n: c.shape for n, c in carried.items()} == {n: c.shape for n, c in whole.items()}
    assert all(torch.equal(carried[n].values, 0.5 * c.values) for n, c in whole.items())
    assert read_manifest(out / "delta").base_model == str(story.sibling)
    before, after = (
        stereoset(out, phase)["pair", "overall", "mean_gap"][0] for phase in ("before", "after")
    )
    assert abs(after) < abs(before)
    written = read_samples(out, "after", "generation")
    shown = RunRecord.load(out).generations
    assert [text.after for text in shown] == [s.values["text"] for s in written] != []
    assert all(text.before is not None for text in shown)
    words = ["--model", str(story.sibling), "--data", str(story.pairs), "--benchmarks", "stereoset"]
    said = here(
        "evaluate", *words, "--adapter", str(out / "delta"), "--output-dir", str(tmp_path / "again")
    )
    assert said.code == 0, said.err
    assert stereoset(tmp_path / "again", "evaluated") == stereoset(out, "after")


def test_how_far_the_sibling_is_from_the_base(here, story, straight, tmp_path):
    """Over the weights that the adapter changes; a base that is gone leaves a reason."""
    lost = shutil.copytree(straight / "adapter", tmp_path / "lost")
    told = json.loads((lost / "method.json").read_text())
    (lost / "method.json").write_text(json.dumps({**told, "base_model": "gone/model"}))
    runs = {}
    for name, artifact, model in (
        ("near", straight / "adapter", story.sibling),
        ("same", straight / "adapter", story.biased),
        ("lost", lost, story.sibling),
    ):
        out = tmp_path / f"to-{name}"
        words = ["--artifact", str(artifact), "--model", str(model), "--data", str(story.pairs)]
        runs[name] = said = here("transfer", *words, "--output-dir", str(out))
        assert said.code == 0, said.err
    near, same, gone = (RunRecord.load(tmp_path / f"to-{name}") for name in runs)
    base, sibling = weights(story.biased), weights(story.sibling)
    moved = [
        n for n, t in merged(story.biased, straight / "adapter").items() if (t != base[n]).any()
    ]
    apart = sum((sibling[n] - base[n]).square().sum() for n in moved)
    wanted = (apart / sum(base[n].square().sum() for n in moved)) ** 0.5
    assert near.transfer is not None
    assert near.transfer.base_model == str(story.biased)
    assert near.transfer.distance is not None
    assert near.transfer.distance.num_tensors == len(moved) == 8
    assert near.transfer.distance.relative == pytest.approx(wanted.item(), rel=1e-5)
    shown = f"{near.transfer.distance.relative:.3g}"
    assert f"distance from the base's weights, relative: {shown}" in runs["near"].out
    assert f"{shown} of their size" in (tmp_path / "to-near" / "report.html").read_text()
    assert near.warnings == []
    assert same.transfer is not None
    assert same.transfer.distance is not None
    assert same.transfer.distance.relative == 0
    assert same.warnings == [
        "the weights that the artefact changes are the base's own: nothing was carried over"
    ]
    assert gone.transfer is not None
    assert gone.transfer.distance is None
    (why,) = (m.why for m in gone.not_measured if m.what.startswith("distance"))
    assert why == "the base 'gone/model' is not on this machine; fetch it first"


def test_the_share_that_is_kept_is_told_where_the_runs_measured_the_same(
    here, story, straight, delta, tmp_path
):
    """The folder around the artefact is the run; elsewhere it has to be named, and no other."""
    moved = shutil.copytree(straight / "adapter", tmp_path / "moved")
    common = ["--model", str(story.sibling), "--data", str(story.pairs)]
    named = ["--original-run", str(straight)]
    told = {}
    for name, artifact, more in (
        ("beside", straight / "adapter", []),
        ("moved", moved, []),
        ("named", moved, named),
    ):
        words = ["transfer", "--artifact", str(artifact), *common, *more]
        told[name] = here(*words, "--output-dir", str(tmp_path / f"to-{name}"))
        assert told[name].code == 0, told[name].err
    beside, lone, again = (RunRecord.load(tmp_path / f"to-{name}") for name in told)
    assert beside.transfer is not None
    assert beside.transfer.original_run == str(straight)
    assert [k.metric for k in beside.transfer.kept] == ["ss", "mean_gap"]
    gap = beside.transfer.kept[1]
    assert gap.share is not None
    for effect, run in ((gap.base, straight), (gap.sibling, tmp_path / "to-beside")):
        before, after = (
            stereoset(run, p)["pair", "overall", "mean_gap"] for p in ("before", "after")
        )
        assert effect.value == pytest.approx(before[0] - after[0])
        assert gap.n == before[1]
    assert gap.share.value == pytest.approx(gap.sibling.value / gap.base.value)
    shown = f"{100 * gap.share.value:.0f}"
    assert f"kept of the effect on mean_gap (pair): {shown}%" in told["beside"].out
    assert f"{shown}&nbsp;%" in (tmp_path / "to-beside" / "report.html").read_text()
    assert lone.transfer is not None
    assert lone.transfer.kept == []
    assert [m.why for m in lone.not_measured if m.what.startswith("share of the effect")] == [
        "the artefact lies in no run's folder; name the run that made it (--original-run)"
    ]
    assert again.transfer is not None
    assert again.transfer.kept == beside.transfer.kept
    assert f"--original-run {straight}" in again.reproduce
    carried = tmp_path / "to-beside"
    words = ["transfer", "--artifact", str(moved), *common, "--original-run", str(carried)]
    said = here(*words, "--output-dir", str(tmp_path / "x"))
    assert said.code == 2
    assert "did not make the artefact" in said.err


def ids(folder, phase="after"):
    lines = (folder / "samples" / f"{phase}-stereoset.jsonl").read_text().splitlines()
    return {json.loads(line)["id"] for line in lines}


def test_the_strength_is_chosen_on_the_select_split(here, story, straight, tmp_path, monkeypatch):
    """The one nearest to even that keeps the floors; the report split is the run's own."""
    monkeypatch.setattr(transferring, "STRENGTHS", (0.5, 0.75))
    monkeypatch.setattr(transferring, "REFINE", 1)
    words = ["--artifact", str(straight / "adapter"), "--model", str(story.sibling)]
    out = tmp_path / "auto"
    more = ["--data", str(story.pairs), "--scale", "auto", "--output-dir", str(out)]
    said = here("transfer", *words, *more)
    assert said.code == 0, said.err
    record = RunRecord.load(out)
    tried = [row.strength for row in record.history]
    assert tried == [0.0, 0.5, 0.75, 0.625]
    assert {m.split for row in record.history for m in row.metrics} == {"select"}
    kept = record.checkpoint
    assert kept is not None
    assert kept.strength in (0.625, 0.75)
    assert {floor.metric for floor in kept.floors} == {
        "stereoset.lms",
        "perplexity.perplexity",
    }
    assert record.warnings == []
    assert ids(out) == ids(straight)
    assert record.data.counts["select"] == RunRecord.load(straight).data.counts["select"]
    assert read_seen(out / "adapter") == read_seen(straight / "adapter")
    sibling, whole = weights(story.sibling), merged(story.sibling, straight / "adapter")
    carried = merged(story.sibling, out / "adapter")
    for name in sibling:
        wanted = sibling[name] + kept.strength * (whole[name] - sibling[name])
        torch.testing.assert_close(carried[name], wanted)
    again = tmp_path / "again"
    words = ["--model", str(story.sibling), "--adapter", str(out / "adapter")]
    more = ["--data", str(story.pairs), "--benchmarks", "stereoset", "--output-dir", str(again)]
    assert here("evaluate", *words, *more).code == 0
    assert stereoset(again, "evaluated") == stereoset(out, "after")
    page = (out / "report.html").read_text()
    assert "by strength of the change, stage transfer" in page
    assert f"strength {kept.strength:.3g}" in page


def test_what_chose_the_strength_counts_as_seen(here, story, delta, tmp_path, monkeypatch):
    """Also where the artefact had not seen it; and one that saw a part is told."""
    monkeypatch.setattr(transferring, "STRENGTHS", (0.5,))
    monkeypatch.setattr(transferring, "REFINE", 0)
    pairs = load_dataset(str(story.pairs)).splits
    for known, warned in ((), 0), (pairs["select"].pairs[:5], 1):
        fresh, out = tmp_path / f"fresh-{warned}", tmp_path / f"out-{warned}"
        shutil.copytree(delta, fresh)
        write_seen(fresh, digests(known))
        words = ["--artifact", str(fresh), "--model", str(story.sibling), "--scale", "auto"]
        said = here("transfer", *words, "--data", str(story.pairs), "--output-dir", str(out))
        assert said.code == 0, said.err
        assert ids(out) == {p.id for p in (*pairs["report"].pairs, *pairs["train"].pairs)}
        assert read_seen(out / "delta") == digests(pairs["select"].pairs)
        warnings = RunRecord.load(out).warnings
        assert len(warnings) == warned
        assert all("saw 5 of 32 pairs of the select split" in w for w in warnings)


def found(row, metric):
    return next(m.value for m in row.metrics if (m.metric, m.category) == (metric, "overall"))


def test_a_strength_that_misses_a_floor_is_not_taken(here, story, straight, tmp_path, monkeypatch):
    """Twice as strong is nearer to even, at too high a perplexity; so nothing is left."""
    monkeypatch.setattr(transferring, "STRENGTHS", (2.0,))
    monkeypatch.setattr(transferring, "REFINE", 0)
    words = ["--artifact", str(straight / "adapter"), "--model", str(story.sibling)]
    words += ["--scale", "auto"]
    out = tmp_path / "out"
    said = here("transfer", *words, "--data", str(story.pairs), "--output-dir", str(out))
    assert said.code == 0, said.err
    record = RunRecord.load(out)
    assert record.checkpoint is not None
    assert record.checkpoint.strength == 0
    (base, tried), perplexity = record.history, "perplexity"
    assert abs(found(tried, "mean_gap")) < 0.5 * abs(found(base, "mean_gap"))
    assert found(tried, perplexity) > 1.05 * found(base, perplexity)
    assert any("no strength was better" in warning for warning in record.warnings)
    assert stereoset(out, "after") == stereoset(out, "before")
    assert not (out / "adapter").exists()


def test_a_scale_needs_a_number_or_pairs_to_choose_it_by(here, story, straight, tmp_path):
    crows = tmp_path / "crows.csv"
    rows = [f"{i},He is late {i}.,She is late {i}.,stereo,gender" for i in range(9)]
    crows.write_text("\n".join([",sent_more,sent_less,stereo_antistereo,bias_type", *rows]))
    words = ["--artifact", str(straight / "adapter"), "--model", str(story.sibling)]
    for data, scale, why in (
        (crows, "auto", "scale auto goes by stereoset, which has nothing to ask of"),
        (story.pairs, "most", "--scale is 'most'; give a number above 0, or auto"),
        (story.pairs, "inf", "scale is inf; it must be positive"),
    ):
        more = ["--data", str(data), "--scale", scale, "--output-dir", str(tmp_path / "x")]
        said = here("transfer", *words, *more)
        assert said.code == 2
        assert why in said.err


def test_what_to_measure_on_is_said_once(here, story, straight, tmp_path):
    words = ["--artifact", str(straight / "adapter"), "--model", str(story.sibling)]
    words += ["--output-dir", str(tmp_path / "x")]
    data, like = ["--data", str(story.pairs)], ["--like", str(straight)]
    for more, why in (
        ([], "what to measure on is named by one of two: --data, or --like"),
        ([*data, *like], "what to measure on is named by one of two"),
        ([*like, "--format", "jsonl"], "--format and --column are for --data"),
        (["--like", str(tmp_path)], "no configuration file"),
    ):
        said = here("transfer", *words, *more)
        assert said.code == 2
        assert why in said.err
    assert not (tmp_path / "x").exists()
