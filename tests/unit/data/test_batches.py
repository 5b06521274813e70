"""What a chunk is made of, in either direction, across swaps, wraps and resumes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from tests.fixtures import TARGETS, documents, pairs
from unskew.data.batches import Apportionment, ChunkSizes, PairChunks, ShuffledCycle
from unskew.errors import ConfigError, DataError

STREAMS = ("forget", "retain", "unrelated")
CHUNKS = 30


def _chunks(**options) -> PairChunks:
    return PairChunks(pairs(), documents(), **{"seed": 5, **options})


def _side(row) -> str:
    return row.id.rpartition("|")[2]


def _of(rows, stream, category=None) -> list:
    return [r for r in rows if r.stream == stream and category in (None, r.category)]


@pytest.mark.parametrize("direction", [1, -1])
def test_a_chunk_is_four_to_twenty_eight_in_either_direction(direction):
    chunks = _chunks()
    chunks.set_directions(dict.fromkeys(TARGETS, direction))
    forgotten = "stereotype" if direction > 0 else "anti_stereotype"
    kept = "anti_stereotype" if direction > 0 else "stereotype"
    for _ in range(CHUNKS):
        rows = chunks.next()
        assert Counter(r.stream for r in rows) == {"forget": 4, "retain": 28, "unrelated": 28}
        assert {_side(r) for r in _of(rows, "retain")} == {kept}
        for row in _of(rows, "forget"):
            assert _side(row) == (kept if row.is_adversarial else forgotten)


def test_rows_carry_the_text_of_their_side():
    by_id = {p.id: p for p in pairs()}
    for row in _chunks().next():
        pair_id, _, side = row.id.partition("|")
        pair = by_id[pair_id]
        assert row.segment.text == getattr(pair, side)
        assert row.segment.completion_start == (0 if side == "unrelated" else pair.completion_start)


@pytest.mark.parametrize("swap_at", [None, 7])
def test_adversarial_rows_are_a_fifth_of_each_category_after_every_chunk(swap_at):
    # Five categories: were the draws counted together, every fifth would be of the same one.
    rows = [replace(p, category=f"c{i % 5}") for i, p in enumerate(pairs())]
    chunks = PairChunks(rows, seed=5)
    drawn = {f"c{i}": [0, 0] for i in range(5)}
    for i in range(CHUNKS):
        if i == swap_at:
            chunks.set_directions({"c1": -1})
        for row in _of(chunks.next(), "forget"):
            drawn[row.category][row.is_adversarial] += 1
        for main, adversarial in drawn.values():
            assert abs(adversarial - 0.2 * (main + adversarial)) <= 1


def test_categories_are_drawn_equally_often():
    uneven = [p for p in pairs() if p.category == "gender" or p.id == "race-velk-0"]
    for balance, share in (("equal", 1 / 2), ("natural", 1 / 9)):
        chunks = PairChunks(uneven, category_balance=balance)
        rows = [r for _ in range(27) for r in chunks.next()]
        for stream, draws in (("forget", 4 * 27), ("retain", 28 * 27)):
            assert abs(len(_of(rows, stream, "race")) - share * draws) <= 1


def test_swapping_a_category_leaves_the_others_rows_untouched():
    plain, swapped = _chunks(), _chunks()
    for i in range(CHUNKS):
        if i == 9:
            swapped.set_directions({"gender": -1})
        a, b = plain.next(), swapped.next()
        for stream in STREAMS[:2]:
            assert _of(a, stream, "race") == _of(b, stream, "race")
        assert _of(a, "unrelated") == _of(b, "unrelated")
    assert _of(a, "forget", "gender") != _of(b, "forget", "gender")


def test_a_resting_category_takes_no_part_and_comes_back_without_a_burst():
    chunks = _chunks()
    chunks.set_directions({"gender": 0})
    for _ in range(CHUNKS):
        rows = chunks.next()
        assert {r.category for r in rows if r.stream != "unrelated"} == {"race"}
        assert len(_of(rows, "forget")) == 4
    chunks.set_directions({"gender": 1})
    for _ in range(5):
        rows = chunks.next()
        assert len(_of(rows, "forget", "gender")) == 2
        assert len(_of(rows, "retain", "gender")) == 14


def test_when_all_rest_only_unrelated_text_is_left():
    chunks = _chunks()
    chunks.set_directions(dict.fromkeys(TARGETS, 0))
    assert {r.stream for r in chunks.next()} == {"unrelated"}


def test_every_row_comes_once_an_epoch_and_the_order_changes_at_the_wrap():
    cycle = ShuffledCycle(50, "key")
    epochs = [[cycle.at(50 * e + i) for i in range(50)] for e in range(3)]
    assert all(sorted(e) == list(range(50)) for e in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [ShuffledCycle(50, "key").at(i) for i in range(50)] == epochs[0]
    assert [ShuffledCycle(50, "other").at(i) for i in range(50)] != epochs[0]
    assert cycle.at(3) == epochs[0][3], "an earlier epoch can be asked for again"


def test_the_seed_and_nothing_else_changes_the_order():
    def ids(rows, seed):
        chunks = PairChunks(rows, seed=seed)
        return [r.id for _ in range(3) for r in chunks.next()]

    assert ids(pairs(), 1) == ids(pairs()[::-1], 1)
    assert ids(pairs(), 1) != ids(pairs(), 2)


def test_state_is_json_and_continues_exactly():
    chunks = _chunks(document_share=0.3, without_start=0.4)
    for i in range(11):
        if i == 4:
            chunks.set_directions({"race": -1})
        chunks.next()
    state = json.loads(json.dumps(chunks.state_dict()))
    fresh = _chunks(document_share=0.3, without_start=0.4)
    fresh.load_state_dict(state)
    assert [fresh.next() for _ in range(CHUNKS)] == [chunks.next() for _ in range(CHUNKS)]


def test_shares_are_met_at_every_prefix():
    dealer = Apportionment({"a": 0.5, "b": 0.3, "c": 0.2})
    dealt: Counter[str] = Counter()
    for n in range(1, 201):
        dealt[dealer.next()] += 1
        for name, share in dealer.shares.items():
            assert abs(dealt[name] - share * n) < 1


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_documents_take_their_share_of_the_unrelated_stream(share):
    chunks = _chunks(document_share=share)
    rows = [r for _ in range(10) for r in _of(chunks.next(), "unrelated")]
    assert abs(len([r for r in rows if r.category == "documents"]) - share * 280) <= 1


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_only_source_of_unrelated_text_gives_every_row(share):
    bare = [replace(p, unrelated=None) for p in pairs()]
    from_documents = PairChunks(bare, documents(), document_share=share).next()
    from_pairs = PairChunks(pairs(), document_share=share).next()
    assert {r.category for r in _of(from_documents, "unrelated")} == {"documents"}
    assert {r.category for r in _of(from_pairs, "unrelated")} == {"pairs"}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"adversarial_ratio": 1.0}, ConfigError, r"adversarial_ratio is 1.0; .*\[0, 1\)"),
        ({"document_share": 1.5}, ConfigError, r"document_share is 1.5; .*\[0, 1\]"),
        ({"without_start": -0.1}, ConfigError, r"without_start is -0.1; .*\[0, 1\]"),
        ({"pairs": [replace(p, unrelated=None) for p in pairs()]}, DataError, "stream is empty"),
        ({"pairs": ()}, DataError, "the train split has no pair"),
    ],
)
def test_what_is_refused(options, error, message):
    options = {"pairs": pairs(), **options}
    with pytest.raises(error, match=message):
        PairChunks(options.pop("pairs"), **options)


def test_sizes_out_of_range():
    with pytest.raises(ConfigError, match=r"chunk.retain is -1; it must be 0 or more"):
        ChunkSizes(retain=-1)
    with pytest.raises(ConfigError, match=r"all of chunk.forget, .* are 0; a step needs at least"):
        ChunkSizes(0, 0, 0)


def test_unknown_categories_are_ignored():
    chunks = _chunks()
    chunks.set_directions({"age": -1})
    assert set(chunks.directions) == set(TARGETS)


def test_every_stream_shows_its_share_of_rows_without_the_start_token():
    chunks = _chunks(without_start=0.5, document_share=0.5)
    shown: Counter[tuple[str, str]] = Counter()
    bare: Counter[tuple[str, str]] = Counter()
    for _ in range(CHUNKS):
        for row in chunks.next():
            shown[row.stream, row.category] += 1
            bare[row.stream, row.category] += not row.has_start
            assert row.id.endswith("|no start") != row.has_start
    assert set(shown) == {(s, c) for s in ("forget", "retain") for c in TARGETS} | {
        ("unrelated", "pairs"),
        ("unrelated", "documents"),
    }
    # Dealt out in turn within each stream and category, the count is never a whole row off.
    assert all(abs(bare[key] - shown[key] / 2) < 1 for key in shown)


def test_by_default_every_row_has_its_start_token():
    assert all(row.has_start for row in _chunks().next())


@pytest.mark.parametrize("direction", [1, -1])
def test_a_whole_pair_has_both_variants_of_one_pair(direction):
    chunks = _chunks(sizes=ChunkSizes(0, 0, 0, pairs=6, slots=3), without_start=0.5)
    chunks.set_directions(dict.fromkeys(TARGETS, direction))
    by_id = {p.id: p for p in pairs()}
    sides = ("anti_stereotype", "stereotype")[::direction]
    drawn: Counter[str] = Counter()
    for _ in range(8):
        rows = chunks.next()
        assert Counter(r.stream for r in rows) == {"pairs": 6, "slots": 3}
        for row in rows:
            pair = by_id[row.id.partition("|")[0]]
            texts = [s.text for s in row.segments]
            assert texts == [getattr(pair, side) for side in sides]
            assert {s.completion_start for s in row.segments} == {pair.completion_start}
            drawn[row.id.partition("|")[0]] += row.stream == "pairs"
    assert set(drawn.values()) == {3}, "48 draws of 16 pairs: every pair equally often"


def test_whole_pairs_take_no_draw_from_the_other_streams():
    plain, more = _chunks(), _chunks(sizes=ChunkSizes(pairs=5, slots=5))
    for _ in range(CHUNKS):
        assert plain.next() == [r for r in more.next() if r.stream in STREAMS]
