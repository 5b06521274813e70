"""Pushing: the folder, its card as the hub's own client reads it, and a hub that is rude."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import ModelCard, constants
from typer.testing import CliRunner

from tests.unit.hub.loopback import Hub
from tests.unit.reports.example_record import HOSTILE, example_record, hostile_record
from unskew.cli import app
from unskew.errors import ArtifactError, ConfigError, HubRefused
from unskew.publishing import Upload, push


def _manifest(folder, **changes):
    record = example_record()
    assert record.model is not None
    of_run = {
        "recipe": record.recipe,
        "unskew_version": "0",
        "config_sha256": record.config_sha256,
        "seed": 0,
        "step": 3,
        "base_model": record.model.name_or_path,
        "base_fingerprint": record.model.fingerprint,
        "model_type": "gpt2",
        "tokenizer_fingerprint": "t",
        "data_sha256": "d",
    }
    (folder / "method.json").write_text(json.dumps({**of_run, **changes}))


@pytest.fixture
def run(tmp_path):
    """A finished run with an adapter."""
    folder = tmp_path / "run"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    _manifest(folder / "adapter")
    (folder / "config.yaml").write_text("recipe: mine\ndescription: What it does.\nsource: A 2025.")
    example_record().save(folder)
    return folder


@pytest.fixture
def online(monkeypatch):
    """Points the hub's client at a server here."""

    def use(hub):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")

    return use


def test_offline_the_folder_is_written_and_nothing_is_sent(run, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    pushed = push(run, "me/even", output_dir=tmp_path / "out", licence="apache-2.0")
    assert pushed.url is None
    assert pushed.later.startswith(f"hf upload me/even {tmp_path / 'out'} .")
    assert sorted(p.name for p in pushed.folder.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "method.json",
    ]
    card = ModelCard.load(pushed.folder / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == "openai-community/gpt2-medium"
    results = {(r.dataset_type, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert results["stereoset", "ss"] == 50.8
    assert "What it does. Source: A 2025." in card.text
    assert "PeftModel.from_pretrained(model, 'me/even')" in card.text


def test_an_unsaid_licence_is_not_invented(run, tmp_path):
    pushed = push(run, "me/even", output_dir=tmp_path / "out", dry_run=True)
    assert ModelCard.load(pushed.folder / "README.md").data.license is None


def test_a_merged_model_needs_its_run_and_loads_without_peft(run, tmp_path):
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / "config.json").write_text("{}")
    _manifest(merged)
    with pytest.raises(ArtifactError, match="name the run that made the artefact with --run"):
        push(merged, "me/even", output_dir=tmp_path / "out", dry_run=True)
    pushed = push(merged, "me/even", run=run, output_dir=tmp_path / "out", dry_run=True)
    card = ModelCard.load(pushed.folder / "README.md")
    assert card.data.to_dict()["library_name"] == "transformers"
    assert card.data.to_dict()["base_model_relation"] == "finetune"
    assert "AutoModelForCausalLM.from_pretrained('me/even')" in card.text
    assert "PeftModel" not in card.text


@pytest.mark.parametrize(
    "changes",
    [
        {"config_sha256": "of another run"},
        {"base_fingerprint": "of another base"},
        {"recipe": "biasunlearn, {'name': 'negation', 'gamma': 0.5}"},
        None,
    ],
)
def test_the_card_never_shows_the_numbers_of_something_else(run, tmp_path, changes):
    if changes is None:
        (run / "adapter" / "method.json").unlink()
    else:
        _manifest(run / "adapter", **changes)
    with pytest.raises(ArtifactError, match=r"did not measure what is in|has no method\.json"):
        push(run, "me/even", output_dir=tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()


def test_hostile_names_stay_text(run, tmp_path):
    record = hostile_record()
    record.save(run)
    assert record.model is not None
    _manifest(
        run / "adapter",
        recipe=record.recipe,
        config_sha256=record.config_sha256,
        base_fingerprint=record.model.fingerprint,
    )
    (run / "config.yaml").write_text(json.dumps({"description": HOSTILE, "source": HOSTILE}))
    pushed = push(run, "me/even", output_dir=tmp_path / "out", dry_run=True)
    card = ModelCard.load(pushed.folder / "README.md")
    assert HOSTILE in card.data.tags


@pytest.mark.parametrize("name", ["even", "a/b/c", "me/ev en", ""])
def test_what_is_no_repository_is_refused_before_anything_is_written(run, tmp_path, name):
    with pytest.raises(ConfigError, match="repo_id"):
        push(run, name, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_an_artefact_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="holds none; give the folder of a run"):
        push(tmp_path, "me/even", output_dir=tmp_path / "out")


def test_an_upload_arrives_whole(run, tmp_path, online):
    with Hub() as hub:
        online(hub)
        pushed = push(
            run,
            "me/even",
            output_dir=tmp_path / "out",
            how=Upload(private=True, revision="v2", commit_message="Even now"),
        )
    assert pushed.url == f"{hub.url}/me/even/commit/abc"
    assert hub.made[0]["name"] == "even"
    assert "private" in json.dumps(hub.made[0])
    assert hub.branches == ["v2"]
    assert hub.summary == "Even now"
    assert hub.files["adapter_model.safetensors"] == b"weights"
    assert hub.files.keys() == {p.name for p in pushed.folder.iterdir()}
    assert hub.tokens == {"Bearer hf_secret"}


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        ({"create": 401}, "status 401 for me/even; log in"),
        ({"commit": 403}, "status 403 for me/even; the token may not write"),
        ({"commit": 400}, "status 400 for me/even; repeat"),
    ],
)
def test_a_refusal_is_one_line_and_keeps_the_folder(run, tmp_path, online, refuse, message):
    with Hub(refuse) as hub, pytest.raises(HubRefused) as caught:
        online(hub)
        push(run, "me/even", output_dir=tmp_path / "out")
    assert message in str(caught.value)
    assert "Nothing is lost: hf upload me/even" in str(caught.value)
    assert "hf_secret" not in str(caught.value)
    assert (tmp_path / "out" / "README.md").is_file()


def test_no_network_is_told_as_such(run, tmp_path, online):
    hub = Hub()
    hub.__enter__()
    hub.__exit__()
    online(hub)
    with pytest.raises(HubRefused, match=r"cannot be reached .*Nothing is lost"):
        push(run, "me/even", output_dir=tmp_path / "out")


def test_on_the_command_line(run, tmp_path):
    words = ["push", "--artifact", str(run), "--repo-id", "me/even", "--dry-run"]
    done = CliRunner().invoke(app, [*words, "--output-dir", str(tmp_path / "out")])
    assert done.exit_code == 0
    assert "the card names no licence; give it with --license" in done.output
    assert "nothing was uploaded, --dry-run; later: hf upload me/even" in done.output
