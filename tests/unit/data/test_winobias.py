"""WinoBias' pairs of files to sentences with their counterparts. All rows here are invented."""

from __future__ import annotations

import gzip

import pytest

from unskew.data.measured import measured_format
from unskew.data.winobias import OCCUPATIONS, load_winobias
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
