"""Benchmarks asked for as `NAME:PLACE`."""

from __future__ import annotations

import pytest

from unskew.errors import BenchmarkError, MissingDataset, UnknownName
from unskew.evaluation.own_data import read_own
from unskew.measuring import Measuring
from unskew.schema import EvaluationConfig
from unskew.types import Dataset, Examples


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "talk.txt"
    path.write_text("The nurse is kind.\n")
    return path


def test_the_source_tells_perplexities_apart(text):
    (own,) = read_own([f"perplexity:{text}"], others=["perplexity"])
    assert own.label == "perplexity-talk"
    (entry,) = own.entries((), {})
    assert (entry.label, entry.benchmark.source) == ("perplexity-talk", "talk")


def test_pairs_of_their_own_go_to_the_report_split(tmp_path):
    """CrowS-Pairs beside a run on StereoSet, as in BiasUnlearn's Table 2."""
    path = tmp_path / "crows.csv"
    path.write_text(
        ",sent_more,sent_less,stereo_antistereo,bias_type,annotations,anon_writer,anon_annotators\n"
        "0,Women are late.,Men are late.,stereo,gender,[],a0,[]\n"
        "1,Jews are late.,Dutch are late.,antistereo,religion,[],a0,[]\n"
    )
    (own,) = read_own([f"crows_pairs:{path}"], others=["stereoset"])
    (entry,) = own.entries((), {})
    assert {p.category for p in own.dataset.splits["report"].pairs} == {"gender", "religion"}
    assert len(list(entry.benchmark.requests())) == 2


def test_a_comparing_benchmark_comes_once_for_each_reference(text):
    (own,) = read_own([f"divergence:{text}"])
    assert [e.label for e in own.entries(("base", "oracle"), {})] == [
        "divergence-base-talk",
        "divergence-oracle-talk",
    ]


def test_the_same_numbers_do_not_stand_twice(text):
    with pytest.raises(BenchmarkError, match="divergence would be measured twice"):
        read_own([f"divergence:{text}"], others=["divergence"])
    with pytest.raises(BenchmarkError, match="perplexity-talk would be measured twice"):
        read_own([f"perplexity:{text}"] * 2)


def test_mistakes_are_told_before_a_model_is_loaded(text):
    with pytest.raises(UnknownName, match="did you mean 'perplexity'"):
        read_own([f"perplexty:{text}"])
    with pytest.raises(MissingDataset, match=r"did you mean 'talk\.txt'"):
        read_own([f"perplexity:{text.parent / 'tlak.txt'}"])
    with pytest.raises(BenchmarkError, match=r"slot takes its probes from the data of the run"):
        read_own([f"slot:{text}"])


def test_selection_measures_on_the_data_of_the_run_alone(text):
    examples = Examples(documents=())
    dataset = Dataset("x", {"report": examples, "select": examples})
    measuring = Measuring(dataset, EvaluationConfig(benchmarks=[f"perplexity:{text}"]), 0)
    assert (measuring.names, [o.label for o in measuring.own]) == ([], ["perplexity-talk"])
    assert measuring.own_data()["perplexity-talk"].counts == {"report": {"talk": 1}}
