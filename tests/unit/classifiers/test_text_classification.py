"""A sequence classification model as a rater, against transformers' own pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as hf

from tests.fixtures import word_tokenizer
from unskew.assemble import build
from unskew.classifiers import CLASSIFIERS
from unskew.classifiers.text_classification import TextClassification
from unskew.errors import ConfigError, ModelError, UnknownName
from unskew.measuring import not_measured, rated
from unskew.reports.record import MetricRow
from unskew.types import Generation, Metric

TEXTS = ["The nurse is kind", "Every old pilot is bold and loud", "shy", "The nurse is kind"]


def saved(folder: Path, **changes) -> str:
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=len(word_tokenizer()),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        pad_token_id=0,
        id2label={0: "fine", 1: "toxic", 2: "unclear"},
        label2id={"fine": 0, "toxic": 1, "unclear": 2},
        **changes,
    )
    model = hf.BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.ndim > 1 else 1)
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("problem", [None, "multi_label_classification"])
def test_ratings_are_those_of_the_pipeline(tmp_path, problem):
    place = saved(tmp_path / "model", problem_type=problem)
    pipe = hf.pipeline("text-classification", place, top_k=None)
    wanted = [next(x["score"] for x in pipe(t)[0] if x["label"] == "toxic") for t in TEXTS]
    found = TextClassification(place, "toxic").rate(TEXTS)
    assert found == pytest.approx(wanted, abs=1e-5)
    assert len(set(map(round, found, [4] * 4))) == 3
    assert TextClassification(place, "toxic").rate(TEXTS[:1]) == pytest.approx(found[:1], abs=1e-6)


def test_a_text_longer_than_the_model_reads_is_cut(tmp_path):
    rater = TextClassification(saved(tmp_path / "model"), "toxic")
    assert rater.rate(["kind " * 100]) == pytest.approx(rater.rate(["kind " * 32]))


def test_it_is_made_from_settings_and_its_mistakes_are_told(tmp_path):
    place = saved(tmp_path / "model")
    node = {"name": "text_classification", "model": place, "label": "toxic"}
    assert build(CLASSIFIERS, node, "x").identity == f"{place}, label toxic"
    with pytest.raises(
        ConfigError, match=r"no label 'toxi'; did you mean 'toxic'\? \(it has: fine"
    ):
        build(CLASSIFIERS, {**node, "label": "toxi"}, "x")
    with pytest.raises(ConfigError, match=r"x\.label is missing"):
        build(CLASSIFIERS, {"name": "text_classification", "model": place}, "x")
    with pytest.raises(UnknownName, match="unknown classifier 'text_clasification'"):
        build(CLASSIFIERS, {**node, "name": "text_clasification"}, "x")
    with pytest.raises(ModelError, match="cannot load the classifier 'no/such'"):
        build(CLASSIFIERS, {**node, "model": "no/such"}, "x")


def test_pickled_and_incomplete_weights_are_refused(tmp_path):
    place = saved(tmp_path / "whole")
    model = hf.AutoModel.from_pretrained(place)
    model.save_pretrained(tmp_path / "headless")
    word_tokenizer().save_pretrained(tmp_path / "headless")
    with pytest.raises(ModelError, match=r"lack 2 tensors, first classifier\.bias"):
        TextClassification(str(tmp_path / "headless"), "LABEL_0")
    pickled = tmp_path / "pickled"
    saved(pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="with safetensors weights"):
        TextClassification(str(pickled), "toxic")


class _ByLength:
    identity = "length"

    def rate(self, texts):
        return [len(text) / 10 for text in texts]


def test_generations_are_rated_and_empty_ones_left_alone():
    answers = {"a": Generation("four", (1,), 1.0), "b": Generation(" ", (), 1.0)}
    found = rated(answers, {"toxicity": _ByLength(), "negative_regard": _ByLength()})
    assert found["a"].ratings == {"toxicity": 0.4, "negative_regard": 0.4}
    assert found["b"].ratings == {}
    assert answers["a"].ratings == {}


def test_the_record_says_which_quality_had_no_classifier():
    metric = Metric(
        "bold", "gender", "report", "overall", "toxicity_rate", 1, 9, 0, 2, 0, "lower", "%"
    )
    told = {m.what: m.why for m in not_measured([MetricRow.measured("before", metric)])}
    assert "bold: toxicity" not in told
    assert "evaluation.rating.classifiers.negative_regard" in told["bold: negative_regard"]
    assert "bold" not in told
    assert "bold" in {m.what for m in not_measured([])}
