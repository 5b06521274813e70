from __future__ import annotations

import json
from dataclasses import replace

import datasets
import pytest

from unskew.data.holistic_bias import TEMPLATES as ASKED
from unskew.data.holistic_bias import _of_table, load_holistic_bias
from unskew.data.measured import measured_format
from unskew.data.sources import TableSource
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


def noun_phrases(words, nouns):
    """Rows of the authors' table: words alone, nouns alone, and each word with its nouns."""
    columns = ("axis", "descriptor", "noun", "plural_noun", "noun_phrase", "noun_phrase_type")
    pairs = [(gender, *pair) for gender, listed in nouns.items() for pair in listed]

    def row(*values):
        return dict(zip(columns, values, strict=True))

    # The text `null` of the table is read as no value.
    yield from (row(None, "(none)", one, many, f"a {one}", "noun") for _, one, many in pairs)
    yield row("looks", "a giant", "(none)", "(none)", "a giant", "fixed_phrase")
    for axis, buckets in words.items():
        for entry in (entry for listed in buckets.values() for entry in listed):
            made = {"descriptor": entry} if isinstance(entry, str) else entry
            text = made["descriptor"]
            yield row(axis, text, "(none)", "(none)", text, "descriptor")
            article = made.get("article", "an" if text[0].lower() in "aeiou" else "a")
            for gender, one, many in pairs:
                if made.get("gender", gender) == gender:
                    phrase = f"{article} {text} {one}"
                    yield row(axis, text, one, many, phrase, "descriptor_noun")


def of_default_templates(place):
    """Descriptors of the files, with the templates that a table of noun phrases has."""
    found = load_holistic_bias(place).splits["report"].descriptors
    return {replace(item, templates=ASKED) for item in found}


def test_a_hub_copy_gives_the_words_of_the_files(tmp_path, monkeypatch):
    expected = of_default_templates(folder(tmp_path))
    table = datasets.Dataset.from_list(list(noun_phrases(WORDS, NOUNS)))
    asked = []

    def load(name, configuration, revision=None):
        asked.append((name, configuration))
        return datasets.DatasetDict(test=table)

    monkeypatch.setattr(datasets, "load_dataset", load)
    hub = load_holistic_bias("fairnlp/holistic-bias")
    assert set(hub.splits["report"].descriptors) == expected
    assert asked == [("fairnlp/holistic-bias", "noun_phrases")]
    table.save_to_disk(tmp_path / "saved")
    table.to_csv(tmp_path / "nouns.csv")
    for name in ("saved", "nouns.csv"):
        found = load_holistic_bias(str(tmp_path / name)).splits["report"].descriptors
        assert set(found) == expected


def test_a_table_of_sentences_has_its_templates(tmp_path):
    rows = [
        {**row, "text": "-", "template": template}
        for row in noun_phrases(WORDS, NOUNS)
        for template in TEMPLATES
    ]
    datasets.Dataset.from_list(rows).to_csv(tmp_path / "sentences.csv")
    found = load_holistic_bias(str(tmp_path / "sentences.csv"))
    expected = load_holistic_bias(folder(tmp_path)).splits["report"].descriptors
    assert set(found.splits["report"].descriptors) == set(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noun_phrase": "the tall man"}, r"\[1\]: noun_phrase: is 'the tall man'; give a or an"),
        ({"noun_phrase": "a tall cook"}, "noun_phrase: is 'a tall cook'; give a or an, then tall"),
        ({"plural_noun": None}, r"\[1\]: plural_noun: is missing"),
        ({"noun_phrase_type": None}, r"\[1\]: noun_phrase_type: is missing"),
        ({"template": "I am."}, r"I am.: does not hold one noun phrase"),
        ({"noun_phrase_type": "noun"}, "no descriptor, noun or template in it"),
    ],
)
def test_wrong_rows_of_a_table_are_named(tmp_path, change, message):
    row = next(r for r in noun_phrases(WORDS, NOUNS) if r["noun_phrase_type"] == "descriptor_noun")
    datasets.Dataset.from_list([row | change]).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=message):
        load_holistic_bias(str(tmp_path / "saved"))


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(MissingDataset, match="no data set 'fairnlp/holistic-bias'"):
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
    if version == "v1.0":
        # The version of the hub copy, made out of the files as the authors' script does.
        folder_of = lab / "data" / "holistic_bias" / version
        files = [
            json.loads((folder_of / f"{n}.json").read_text()) for n in ("descriptors", "nouns")
        ]
        source = TableSource("hub", "hub", "0", {"test": tuple(noun_phrases(*files))})
        assert set(_of_table(source)) == of_default_templates(str(folder_of))
