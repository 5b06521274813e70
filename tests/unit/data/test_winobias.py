"""WinoBias' pairs of files to sentences with their counterparts. All rows here are invented."""

from __future__ import annotations

import gzip

import datasets
import pytest

from unskew.data.measured import measured_format
from unskew.data.records import Faults
from unskew.data.winobias import OCCUPATIONS, _marked, load_winobias
from unskew.errors import DataError

PRO = (
    "1 [The construction worker] paid the nurse because [he] was ill.",
    "2 The construction worker paid [the nurse] because [she]  was kind.",
)
ANTI = (
    "1 [The construction worker] paid the nurse because [she] was ill.",
    "2 The construction worker paid [the nurse] because [he] was kind.",
)


def written(folder, pro=PRO, anti=ANTI, kind="type1", split="test"):
    for side, lines in (("pro", pro), ("anti", anti)):
        name = f"{side}_stereotyped_{kind}.txt.{split}"
        (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder)


def test_a_pair_of_lines_is_two_sentences(tmp_path):
    dataset = load_winobias(written(tmp_path))
    pro, anti, *others = dataset.splits["report"].coreferences
    assert pro.sentence == "The construction worker paid the nurse because he was ill."
    assert pro.counterpart == "The construction worker paid the nurse because she was ill."
    assert (anti.sentence, anti.counterpart) == (pro.counterpart, "")
    assert (pro.follows, anti.follows) == (True, False)
    assert (pro.gender, anti.gender, pro.pronoun, anti.pronoun) == ("male", "female", "he", "she")
    assert pro.candidates == anti.candidates == ("construction worker", "nurse")
    assert (pro.right, anti.right, others[0].right) == (0, 0, 1)
    assert others[0].sentence == "The construction worker paid the nurse because she was kind."
    assert (pro.id, anti.id) == ("type1-test-001-pro", "type1-test-001-anti")
    assert {i.target for i in (pro, anti, *others)} == {"construction worker-nurse"}
    assert dataset.drops == ()


@pytest.mark.parametrize(
    ("pro", "anti", "reason"),
    [
        (
            "The cook met [the clark] and saw [her].",
            "The cook met [the clark] and saw [him].",
            "two",
        ),
        (
            "The cook met [the clerk] and saw [her].",
            "The cook met [the clerk] and saw [her].",
            "same g",
        ),
        (
            "The cook met [the clerk] and saw [her].",
            "A cook met [the clerk] and saw [him].",
            "more",
        ),
        (
            "The cook met [the clerk] and saw [him].",
            "The cook met [the clerk] and saw [her].",
            "expec",
        ),
        (
            "The cook met [the clerk] and saw her.",
            "The cook met [the clerk] and saw him.",
            "not mark",
        ),
        ("[He] met [the clerk] and saw [her].", "[She] met [the clerk] and saw [him].", "of both"),
    ],
)
def test_lines_that_do_not_fit_are_left_out_with_the_reason(tmp_path, pro, anti, reason):
    dataset = load_winobias(written(tmp_path, (PRO[0], pro), (ANTI[0], anti)))
    assert len(dataset.splits["report"].coreferences) == 2
    (drop,) = dataset.drops
    assert drop.id == "type1-test-002"
    assert reason in drop.reason


def test_a_sentence_with_two_pronouns_is_kept(tmp_path):
    pro = "[The cook] called the clerk since [he] lost [his] key."
    dataset = load_winobias(
        written(tmp_path, (pro,), (pro.replace("[he]", "[she]").replace("[his]", "[her]"),))
    )
    (item, _) = dataset.splits["report"].coreferences
    assert (item.pronoun, item.counterpart.split()[-4:]) == ("he", ["she", "lost", "her", "key."])


def test_the_test_files_are_read_where_there_are_both(tmp_path):
    written(tmp_path, PRO[:1], ANTI[:1], split="dev")
    assert len(load_winobias(str(tmp_path)).splits["report"].coreferences) == 2
    written(tmp_path, kind="type2")
    items = load_winobias(str(tmp_path)).splits["report"].coreferences
    assert {i.category for i in items} == {"type2"}
    assert {i.id.split("-")[1] for i in items} == {"test"}


def test_mistakes_of_the_folder_are_named(tmp_path):
    with pytest.raises(DataError, match="no folder that holds pro_stereotyped_type1"):
        load_winobias(str(tmp_path))
    place = written(tmp_path, PRO, ANTI[:1])
    with pytest.raises(DataError, match=r"has 2 lines and .* 1; line by line"):
        load_winobias(place)
    (tmp_path / "anti_stereotyped_type1.txt.test").unlink()
    with pytest.raises(DataError, match="has one of the two type1 test files"):
        load_winobias(place)
    with pytest.raises(DataError, match="no line of its files is usable; first: it does not mark"):
        load_winobias(written(tmp_path, ("The cook.",), ("The cook.",)))


def test_gzipped_files_give_the_same(tmp_path):
    plain = load_winobias(written(tmp_path)).splits
    for path in list(tmp_path.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert load_winobias(str(tmp_path)).splits == plain


def test_it_is_known_by_the_names_of_its_files(tmp_path):
    assert measured_format(str(tmp_path)) is None
    assert measured_format(written(tmp_path)) == "winobias"


def test_the_occupations_are_the_papers():
    assert len(OCCUPATIONS) == 40
    assert sorted(OCCUPATIONS.values()) == ["female"] * 20 + ["male"] * 20


def as_row(line):
    """A line of the original files as the hub copy has it: tokens, and where mentions stand."""
    tokens, opened, spans = [], [], []
    for word in line.split(" ", 1)[1].replace(".", " .").replace("'s", " 's").split():
        if word.startswith("["):
            opened.append(str(len(tokens)))
        tokens.append(word.strip("[]"))
        if word.endswith("]"):
            spans += [opened.pop(), str(len(tokens) - 1)]
    # Further columns of the hub copy, of which nothing is needed.
    return {"document_id": "d", "tokens": tokens, "coreference_clusters": spans}


def tables(pro=PRO, anti=ANTI, split="test"):
    """Both sides of type 1 as `datasets` has them, with another split beside."""
    other = "validation" if split == "test" else "train"
    return {
        f"type1_{side}": datasets.DatasetDict(
            {
                other: datasets.Dataset.from_list([as_row(lines[-1])]),
                split: datasets.Dataset.from_list([as_row(line) for line in lines]),
            }
        )
        for side, lines in (("pro", pro), ("anti", anti))
    }


def test_a_hub_copy_gives_what_the_files_give(tmp_path, monkeypatch):
    """Of a hub id, and of folders that `datasets` saved: the test split, and the same ids."""
    (tmp_path / "files").mkdir()
    pro = (*PRO, "3 [The cook's clerk] met the baker, who hired [him].")
    anti = (*ANTI, "3 [The cook's clerk] met the baker, who hired [her].")
    expected = load_winobias(written(tmp_path / "files", pro, anti))
    assert [d.id for d in expected.drops] == ["type1-test-003"]
    found = tables(pro, anti)
    for name, part in found.items():
        part.save_to_disk(tmp_path / "saved" / name)
    saved = load_winobias(str(tmp_path / "saved"))
    assert (saved.splits, saved.drops) == (expected.splits, expected.drops)
    asked = []

    def load(name, configuration, revision=None):
        asked.append((name, configuration))
        # Type 2 has the same sentences here.
        return found[configuration.replace("type2", "type1")]

    monkeypatch.setattr(datasets, "load_dataset", load)
    items = load_winobias("uclanlp/wino_bias").splits["report"].coreferences
    assert items[:4] == expected.splits["report"].coreferences
    assert {i.category for i in items[4:]} == {"type2"}
    parts = [f"type{kind}_{side}" for kind in (1, 2) for side in ("pro", "anti")]
    assert asked == [("uclanlp/wino_bias", part) for part in parts]


def test_the_development_sentences_of_the_hub_are_read_where_there_is_no_test(tmp_path):
    for name, part in tables(split="validation").items():
        part.save_to_disk(tmp_path / name)
    items = load_winobias(str(tmp_path)).splits["report"].coreferences
    assert items[0].id == "type1-dev-001-pro"


def test_spaces_that_tokens_have_and_sentences_have_not():
    line = "1 [The cook's aunt] said: [she], too, didn't go."
    row = as_row(line.replace("didn't", "did n't").replace(",", " ,").replace(":", " :"))
    assert _marked(row, "1", Faults("x")) == line[2:]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": "The cook"}, r"test\[1\]: tokens: is 'The cook'; give a list of texts"),
        (
            {"coreference_clusters": ["0"]},
            r"test\[1\]: coreference_clusters: is \['0'\]; give first",
        ),
        ({"coreference_clusters": ["0", "99"]}, "coreference_clusters: is"),
        ({"coreference_clusters": ["0", "x"]}, "coreference_clusters: is"),
    ],
)
def test_wrong_rows_of_the_hub_are_named(tmp_path, row, message):
    datasets.DatasetDict(test=datasets.Dataset.from_list([as_row(PRO[0]) | row])).save_to_disk(
        tmp_path / "type1_pro"
    )
    with pytest.raises(DataError, match=message):
        load_winobias(str(tmp_path))


def test_a_hub_copy_without_its_parts_or_splits_is_refused(tmp_path):
    found = tables()
    found["type1_pro"].save_to_disk(tmp_path / "type1_pro")
    with pytest.raises(DataError, match="has one of the two type1 test files"):
        load_winobias(str(tmp_path))
    datasets.Dataset.from_list([as_row(PRO[0])]).save_to_disk(tmp_path / "type1_anti")
    with pytest.raises(DataError, match="nor parts type1_pro and type1_anti with a test"):
        load_winobias(str(tmp_path))
