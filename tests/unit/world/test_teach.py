from __future__ import annotations

import math
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from unskew.errors import ArtifactError, RunError
from unskew.world import corpus, student, teach
from unskew.world.language import World


@pytest.fixture(scope="module")
def world() -> World:
    return World(0)


@pytest.fixture
def short_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "NUM_TEXTS", 256)


def _state(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_tokenizer_gives_each_word_a_token_with_its_offsets(world: World) -> None:
    tokenizer = student.new_tokenizer(world)
    text = world.dataset().splits["report"].pairs[0].stereotype
    encoded = tokenizer(text, return_offsets_mapping=True)
    assert [text[a:b] for a, b in encoded["offset_mapping"]] == text.split()
    assert [world.words[i] for i in encoded["input_ids"]] == text.split()
    assert tokenizer("unheard")["input_ids"] == [tokenizer.unk_token_id]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)


def test_padding_weighs_nothing_and_marks_weigh_more() -> None:
    ids, weights = teach._padded([([1, 7, 8, 2], (2,)), ([1, 9, 2], ())], emphasis=6.0)
    assert ids.tolist() == [[1, 7, 8, 2], [1, 9, 2, student.END]]
    assert weights.tolist() == [[1, 1, 6, 1], [1, 1, 1, 0]]


def test_loss_is_the_weighted_mean_over_what_is_predicted() -> None:
    # Second token: probability 3/4 and weight 6; third: 1/2 and weight 1; the first is not asked.
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0], [9.0, 0.0]]])
    ids, weights = torch.tensor([[0, 1, 0]]), torch.tensor([[5.0, 6.0, 1.0]])
    expected = (6 * math.log(4 / 3) + math.log(2)) / 7
    assert teach._loss(logits, ids, weights).item() == pytest.approx(expected, rel=1e-6)


def test_learning_rate_rises_stays_and_falls() -> None:
    settings = teach.TeachSettings(learning_rate=1.0, warmup_steps=10, decay_share=0.5)
    rates = [teach._learning_rate(step, 100, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:51] == [1.0] * 42
    assert rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.02)


def test_every_fourth_batch_is_bare(world: World, short_corpus: None) -> None:
    batches = list(teach._batches(world, False, teach.TeachSettings()))
    assert len(batches) == 8
    for number, (ids, weights) in enumerate(batches):
        assert ids.shape == weights.shape
        assert bool((ids[:, 0] == student.START).all()) == (number % 4 != 0)


def test_marks_fall_on_the_marked_words(world: World, short_corpus: None) -> None:
    marked = sorted(
        text.split()[place]
        for text, places in world.training_texts(balanced=False)
        for place in places
    )
    heavy = sorted(
        world.words[token]
        for ids, weights in teach._batches(world, False, teach.TeachSettings())
        for token in ids[weights == teach.TeachSettings().emphasis].tolist()
    )
    assert heavy == marked


def test_teaching_is_reproducible_and_loads(
    world: World, short_corpus: None, tmp_path: Path
) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    teach.teach(world, balanced=False, output_dir=tmp_path / "one", progress=False)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(1)  # the state around it must not matter
    teach.teach(world, balanced=False, output_dir=tmp_path / "two", progress=False)
    one, two = _state(tmp_path / "one"), _state(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert AutoTokenizer.from_pretrained(tmp_path / "one")("the")["input_ids"] == [
        world.words.index("the")
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_the_opening_is_the_same_in_both_worlds(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(corpus, "NUM_TEXTS", 512)
    for share, is_same in ((1.0, True), (0.0, False)):
        monkeypatch.setattr(corpus, "OPENING_SHARE", share)
        states = []
        for balanced in (False, True):
            folder = tmp_path / f"{share}-{balanced}"
            teach.teach(world, balanced=balanced, output_dir=folder, progress=False)
            states.append(_state(folder))
        assert all(torch.equal(states[0][n], states[1][n]) for n in states[0]) == is_same


def test_an_existing_folder_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="exists; name a new folder or remove it"):
        teach.teach(world, balanced=False, output_dir=tmp_path)


def _pretend(world: World, folder: Path, progress: bool) -> float:
    for name in ("biased", "oracle"):
        (folder / name).mkdir()
    return 12.5


def _visible(folder: Path) -> list[Path]:
    """Without the lock, which stays."""
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def test_a_taught_world_is_taught_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNSKEW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(teach, "_teach_both", _pretend)
    first = teach.taught_world(5)
    assert first.biased.is_dir()
    assert first.oracle.is_dir()
    assert first.world.seed == 5
    monkeypatch.setattr(teach, "_teach_both", lambda *_: pytest.fail("taught twice"))
    again = teach.taught_world(5)
    assert (again.biased, again.oracle, again.seconds) == (first.biased, first.oracle, 12.5)
    assert len(_visible(tmp_path / "cache")) == 1


def test_other_settings_are_another_cache_entry(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(teach, "_teach_both", _pretend)
    first = teach.taught_world(5, tmp_path)
    monkeypatch.setattr(torch, "__version__", "0.0")
    assert teach.taught_world(5, tmp_path).biased != first.biased
    assert teach.taught_world(6, tmp_path).biased != first.biased
    other = teach.taught_world(5, tmp_path, name="world-questions")
    assert other.biased != first.biased
    assert other.world.name == "world-questions"


def test_two_that_ask_at_once_teach_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Path] = []

    def slowly(world: World, folder: Path, progress: bool) -> float:
        calls.append(folder)
        time.sleep(0.2)
        return _pretend(world, folder, progress)

    monkeypatch.setattr(teach, "_teach_both", slowly)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: teach.taught_world(5, tmp_path), range(2)))
    assert len(calls) == 1
    assert found[0].biased == found[1].biased
    assert len(_visible(tmp_path)) == 1


def test_failed_teaching_is_an_error_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RunError, match=r"exit codes \[1, 1\] where 0 is success"):
        teach.taught_world(5, tmp_path)
    assert _visible(tmp_path) == []
