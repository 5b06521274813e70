from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from unskew.data.splits import SplitSettings, check_disjoint, split_pairs
from unskew.errors import ConfigError, DataError, LeakageError
from unskew.types import Pair


def pair(id, target=None, *, category="gender", text=None, tags=()):
    text = text or f"Number {id} is"
    return Pair(
        id=id,
        category=category,
        target=target or id,
        stereotype=f"{text} kind",
        anti_stereotype=f"{text} strong",
        unrelated=None,
        completion_start=len(text),
        tags=tags,
    )


def targets(count, size, category="gender"):
    return [
        pair(f"{category}-{t}-{n}", f"{category}{t}", category=category)
        for t in range(count)
        for n in range(size)
    ]


def sizes(splits):
    return {split: len(pairs) for split, pairs in splits.items()}


def test_ten_equal_targets_are_shared_six_two_two():
    splits = split_pairs(targets(10, 7), SplitSettings())
    assert sizes(splits) == {"train": 42, "select": 14, "report": 14}


def test_a_target_stands_in_one_split_whatever_its_case():
    pairs = [*targets(5, 3), pair("x", "Gender0"), pair("y", "GENDER1")]
    where = defaultdict(set)
    for split, found in split_pairs(pairs, SplitSettings()).items():
        for one in found:
            where[one.target.lower()].add(split)
    assert all(len(splits) == 1 for splits in where.values())


def test_three_targets_make_three_splits():
    splits = split_pairs(targets(3, 5), SplitSettings())
    assert sizes(splits) == {"train": 5, "select": 5, "report": 5}


def test_uneven_targets_come_within_the_smallest_of_the_shares():
    pairs = [p for t in range(30) for p in targets(t + 1, t + 1)[-(t + 1) :]]
    splits = split_pairs(pairs, SplitSettings(train=0.5, select=0.3, report=0.2))
    for split, share in (("train", 0.5), ("select", 0.3), ("report", 0.2)):
        assert abs(len(splits[split]) - share * len(pairs)) <= 5


def test_each_task_of_a_category_is_shared_out():
    inter = [
        replace(p, id=f"i{p.id}", target=f"i{p.target}", task="intersentence", stereotype=p.id)
        for p in targets(10, 4)
    ]
    inter = [replace(p, anti_stereotype=f"not {p.id}") for p in inter]
    splits = split_pairs(targets(10, 4) + inter, SplitSettings())
    counts = Counter((s, p.task) for s, found in splits.items() for p in found)
    for task in ("intrasentence", "intersentence"):
        assert [counts[s, task] for s in ("train", "select", "report")] == [24, 8, 8]


def test_a_small_category_tied_to_a_large_one_still_gets_three_splits():
    """By fullness of the large one alone, all three ties would go to train."""
    pairs = targets(3, 64)
    for n in range(3):
        pairs += [pair(f"{n}-{i}", f"tied{n}") for i in range(16)]
        pairs += [pair(f"t{n}", f"tied{n}", category="race", text=f"Number {n}-0 is")]
    for found in split_pairs(pairs, SplitSettings()).values():
        assert sum(p.category == "race" for p in found) == 1


def test_the_seed_decides_and_the_order_does_not():
    pairs = targets(12, 4)
    first = split_pairs(pairs, SplitSettings(seed=1))
    assert split_pairs(pairs[::-1], SplitSettings(seed=1)) == first
    assert split_pairs(pairs, SplitSettings(seed=2)) != first


def test_texts_that_differ_in_case_and_stops_stay_together():
    twins = [pair("a", text="THE plant, IS"), pair("b", text="the plant is")]
    for seed in range(8):
        splits = split_pairs([*targets(6, 1), *twins], SplitSettings(seed=seed))
        assert any({"a", "b"} <= {p.id for p in found} for found in splits.values())


def test_what_is_for_evaluation_only_is_reported_or_left_out():
    pairs = targets(6, 2) + [
        pair(f"blank{t}", f"gender{t}", tags=("evaluation_only",)) for t in range(6)
    ]
    splits = split_pairs([*pairs, pair("alone", tags=("evaluation_only",))], SplitSettings())
    for split in ("train", "select"):
        assert not any(p.tags for p in splits[split])
    reported = {p.target for p in splits["report"] if not p.tags}
    assert {p.target for p in splits["report"] if p.tags} == reported | {"alone"}


def test_too_few_targets_say_what_to_do():
    with pytest.raises(DataError, match="'race' has 2 of at least 3") as caught:
        split_pairs(targets(4, 1) + targets(2, 9, "race"), SplitSettings())
    for mend in ("--report-data", "--categories", "target column"):
        assert mend in str(caught.value)


def test_categories_tied_by_a_text_share_a_split():
    pairs = targets(3, 1) + targets(3, 1, "race")
    tie = [pair("a", text="Same text is"), pair("b", text="Same text is", category="race")]
    splits = split_pairs(pairs + tie, SplitSettings())
    check_disjoint(splits)
    assert all({p.category for p in found} == {"gender", "race"} for found in splits.values())


def test_a_pair_in_two_splits_is_leakage():
    many = [pair(str(n)) for n in range(7)]
    with pytest.raises(
        LeakageError, match=r"7 pairs .*0 \(train and report\).*; \.\.\.;"
    ) as caught:
        check_disjoint({"train": many, "report": many})
    assert len(caught.value.problems) == 7
    assert "5 (train" not in str(caught.value)


def test_the_same_text_under_another_id_is_leakage():
    train, report = [pair("a", text="The plant is")], [pair("b", text="the  plant is")]
    with pytest.raises(LeakageError, match=r"b \(report\) has a text of a \(train\)"):
        check_disjoint({"train": train, "report": report})
    check_disjoint({"train": [*train, *report], "report": []})


@pytest.mark.parametrize(
    "wrong",
    [
        {"train": 0.7},
        {"train": 0.8, "report": 0.0},
        {"train": float("nan")},
        {"train": "0.6"},
        {"seed": -1},
        {"seed": 1.5},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        SplitSettings(**wrong)
