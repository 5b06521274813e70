"""A run that was cut off and resumed is the run that was not, to the last bit."""

from __future__ import annotations

import errno
import shutil

import pytest
import torch

from tests.fixtures import make_trainer, outcome, tiny_model, trainable, with_adapter
from unskew.errors import CheckpointMismatch, StorageError
from unskew.training import checkpoint as storage
from unskew.training import trainer as trainer_module
from unskew.training.checkpoint import last_checkpoint


class _Killed(BaseException):
    """What a killed process looks like from inside: no handler catches it."""


def _model(scope):
    return with_adapter(tiny_model(), moved=False) if scope == "adapter" else tiny_model()


def _straight(folder, scope="adapter"):
    trainer = make_trainer(folder, model=_model(scope))
    trainer.fit()
    return trainer


def _same(resumed, straight) -> None:
    assert outcome(resumed) == outcome(straight)
    ours, theirs = trainable(resumed.policy), trainable(straight.policy)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name
    resumed.load_best()
    straight.load_best()
    assert resumed.decisions == straight.decisions
    for name, value in trainable(straight.policy).items():
        assert torch.equal(trainable(resumed.policy)[name], value), name


def _kill_at_step(trainer, monkeypatch, step) -> None:
    original = trainer.training_step

    def training_step(*args, **kwargs):
        if trainer.state.global_step == step:
            raise _Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(trainer, "training_step", training_step)


@pytest.mark.parametrize("scope", ["adapter", "full"])
@pytest.mark.parametrize("step", [1, 3, 5])
def test_killed_between_steps(tmp_path, monkeypatch, scope, step):
    killed = make_trainer(tmp_path / "cut", model=_model(scope))
    _kill_at_step(killed, monkeypatch, step)
    with pytest.raises(_Killed):
        killed.fit()
    resumed = make_trainer(tmp_path / "cut", model=_model(scope))
    resumed.fit(resume=True)
    _same(resumed, _straight(tmp_path / "straight", scope))


def test_killed_between_best_weights_and_checkpoint(tmp_path, monkeypatch):
    killed = make_trainer(tmp_path / "cut")
    save = killed._save_checkpoint

    def die_at_four(*args):
        if killed.state.global_step == 4:
            raise _Killed
        save(*args)

    monkeypatch.setattr(killed, "_save_checkpoint", die_at_four)
    with pytest.raises(_Killed):
        killed.fit()
    assert last_checkpoint(tmp_path / "cut").name == "checkpoint-2"
    resumed = make_trainer(tmp_path / "cut")
    resumed.fit(resume=True)
    _same(resumed, _straight(tmp_path / "straight"))


def test_killed_while_replacing_the_best_weights(tmp_path, monkeypatch):
    killed = make_trainer(tmp_path / "cut")
    _kill_at_step(killed, monkeypatch, 4)
    with pytest.raises(_Killed):
        killed.fit()
    # Weights of an evaluation that a resumed run on other hardware might not choose again.
    (tmp_path / "cut" / "best-5").mkdir()
    resumed = make_trainer(tmp_path / "cut")
    resumed.fit(resume=True)
    _same(resumed, _straight(tmp_path / "straight"))


@pytest.mark.parametrize("what", ["save_optimizer", "save_trainable", "write_json"])
def test_a_full_disk_in_the_middle_of_a_checkpoint(tmp_path, monkeypatch, what):
    folder = tmp_path / "cut"
    trainer = make_trainer(folder)
    place = trainer_module if what == "write_json" else storage
    original = getattr(place, what)

    def fill_the_disk(*args):
        result = original(*args)
        if trainer.state.global_step == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(place, what, fill_the_disk)
        with pytest.raises(StorageError, match=r"cannot write .*-4: No space left .* --resume"):
            trainer.fit()
    assert last_checkpoint(folder).name == "checkpoint-2"
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]
    resumed = make_trainer(folder)
    resumed.fit(resume=True)
    _same(resumed, _straight(tmp_path / "straight"))


def test_a_finished_run_trains_nothing(tmp_path, monkeypatch):
    straight = _straight(tmp_path)
    resumed = make_trainer(tmp_path)
    _kill_at_step(resumed, monkeypatch, 6)
    resumed.fit(resume=True)
    assert resumed.is_finished and resumed.state.global_step == 6
    _same(resumed, straight)


def test_no_checkpoint_yet_starts_from_the_beginning(tmp_path):
    resumed = make_trainer(tmp_path / "cut")
    resumed.fit(resume=True)
    _same(resumed, _straight(tmp_path / "straight"))


def test_the_loop_draws_what_it_would_have_drawn(tmp_path, monkeypatch):
    """LoRA dropout is the one thing that draws random numbers while training."""

    def model():
        return with_adapter(tiny_model(), moved=False, dropout=0.3)

    straight = make_trainer(tmp_path / "straight", model=model())
    straight.fit()
    killed = make_trainer(tmp_path / "cut", model=model())
    _kill_at_step(killed, monkeypatch, 5)
    with pytest.raises(_Killed):
        killed.fit()
    torch.manual_seed(99)
    resumed = make_trainer(tmp_path / "cut", model=model())
    resumed.fit(resume=True)
    _same(resumed, straight)


def test_another_configuration_is_refused(tmp_path):
    _straight(tmp_path)
    other = make_trainer(tmp_path, config_sha256="another")
    with pytest.raises(CheckpointMismatch, match=r"checkpoint-6 was written by another config"):
        other.fit(resume=True)


@pytest.mark.parametrize("changes", [{"r": 2}, {"targets": "all_linear"}])
def test_another_scope_is_refused(tmp_path, changes):
    _straight(tmp_path)
    other = make_trainer(tmp_path, model=with_adapter(tiny_model(), moved=False, **changes))
    with pytest.raises(CheckpointMismatch, match=r"another scope; it differs in \S+lora_"):
        other.fit(resume=True)


@pytest.mark.parametrize("damage", ["truncated", "missing"])
@pytest.mark.parametrize(
    "file",
    [
        "adapter_model.safetensors",
        "optimizer.safetensors",
        "random.safetensors",
        "trainer_state.json",
        "unskew_state.json",
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path, finished, file, damage):
    # Step 4 of 6, so that resuming needs every file.
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint-4" / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointMismatch, match=rf"checkpoint-4/{file} cannot be read \(") as e:
        make_trainer(tmp_path / "run").fit(resume=True)
    assert "delete its folder to go on from an earlier one" in str(e.value)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose newest checkpoint is of step 4 of 6."""
    folder = tmp_path_factory.mktemp("finished")
    _straight(folder)
    shutil.rmtree(folder / "checkpoint-6")
    return folder
