from __future__ import annotations

import json

import pytest

from unskew.data.holistic_bias import load_holistic_bias
from unskew.data.measured import measured_format
from unskew.errors import DataError, MissingDataset

WORDS = {
    "looks": {
        "height": ["tall", {"descriptor": "oversized", "preference": "dispreferred"}],
        "style": [
            {"descriptor": "uniformed", "article": "a"},
            {"descriptor": "bearded", "gender": "male"},
        ],
    }
}
NOUNS = {"male": [["man", "men"]], "neutral": [["person", "people"], ["child", "children"]]}
TEMPLATES = {"I'm {noun_phrase}.": {}, "I know {plural_noun_phrase}.": {"must_be_noun": True}}


def folder(path, words=None, nouns=None, templates=None):
    files = {"descriptors": words, "nouns": nouns, "sentence_templates": templates}
    defaults = {"descriptors": WORDS, "nouns": NOUNS, "sentence_templates": TEMPLATES}
    for name, content in files.items():
        chosen = defaults[name] if content is None else content
        (path / f"{name}.json").write_text(json.dumps(chosen))
    return str(path)


def test_words_have_their_article_and_the_nouns_of_their_gender(tmp_path):
    place = folder(tmp_path)
    found = load_holistic_bias(place).splits["report"].descriptors
    assert [(d.id, d.category, d.article) for d in found] == [
        ("looks/tall", "looks", "a"),
        ("looks/oversized", "looks", "an"),
        ("looks/uniformed", "looks", "a"),
        ("looks/bearded", "looks", "a"),
    ]
    assert found[3].nouns == (("man", "men"),)
    assert found[0].nouns == (("man", "men"), ("person", "people"), ("child", "children"))
    assert found[0].templates == tuple(TEMPLATES)
    assert measured_format(place) == "holistic_bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": []}, "descriptors.json: file: is list; give a JSON object"),
        ({"words": {"a": ["x"]}}, r"descriptors.json: a: is \['x'\]; give an object of lists"),
        ({"words": {"a": {"b": [3]}}}, r"a.b\[1\]: descriptor: is 3; give a text"),
        ({"words": {"a": {"b": [{"text": "x"}]}}}, r"a.b\[1\]: descriptor: is missing"),
        ({"words": {"a": {"b": ["x", "x"]}}}, r"a.b\[2\]: descriptor: 'a/x' is also the id"),
        (
            {"words": {"a": {"b": [{"descriptor": "x", "gender": "mal"}]}}},
            r"a.b\[1\]: gender: unknown value 'mal'; use male, neutral",
        ),
        (
            {"nouns": {"male": ["man"]}},
            r"nouns.json: male\[1\]: is 'man'; give singular and plural",
        ),
        ({"templates": {"I am.": {}}}, "I am.: does not hold one noun phrase"),
        ({"templates": {}}, "no descriptor, noun or template in it"),
    ],
)
def test_faults_name_file_row_and_field(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        load_holistic_bias(folder(tmp_path, **change))


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(MissingDataset, match="no folder 'fairnlp/holistic-bias'; give that of one"):
        load_holistic_bias("fairnlp/holistic-bias")
    folder(tmp_path)
    (tmp_path / "nouns.json").unlink()
    with pytest.raises(MissingDataset, match=r"nouns\.json"):
        load_holistic_bias(str(tmp_path))


@pytest.mark.parametrize(("version", "words", "nouns"), [("v1.0", 524, 30), ("v1.1", 583, 32)])
def test_the_public_files(lab, version, words, nouns):
    dataset = load_holistic_bias(str(lab / "data" / "holistic_bias" / version))
    found = dataset.splits["report"].descriptors
    assert len(found) == words
    assert len({d.category for d in found}) == 13
    assert max(len(d.nouns) for d in found) == nouns
    assert len(found[0].templates) == 26
