"""Every mistake is one line that says what was given, what is allowed and what to do."""

from __future__ import annotations

import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end import stories, wrong
from tests.end_to_end.conftest import adapter_bytes, command, environment, essence
from unskew.benchmarks import BENCHMARKS as BENCHMARK_TABLE
from unskew.recipes import read_recipe, recipe_names

RECIPES = ", ".join(recipe_names())
BENCHMARKS = ", ".join(sorted(BENCHMARK_TABLE.built_in))
NEW = "{new}"

MODELS = {
    "no such folder or id": (
        lambda biased, folder: "nowhere/at-all",
        "no model 'nowhere/at-all': it is neither a folder nor a hub repository that can be "
        "reached (HF_HUB_OFFLINE is set): ",
    ),
    "no causal head": (
        lambda biased, folder: wrong.headless(folder),
        "'{tmp}/vision' is of type 'vit', which has no causal language model head; unskew works "
        "on models that AutoModelForCausalLM loads",
    ),
    "neither BOS nor EOS": (
        wrong.without_special_tokens,
        "the tokenizer has neither a BOS nor an EOS token, so the first word of a text cannot be "
        "scored; set tokenizer.bos_token and save the folder again",
    ),
    "unknown architecture": (
        lambda biased, folder: wrong.codegen(folder),
        "no LoRA targets are known for model type 'codegen'",
    ),
    "a tensor is missing": (
        wrong.lacking_weights,
        "the weights of '{tmp}/lacking' lack 1 tensors, first transformer.h.1.mlp.c_fc.weight, "
        "which would be random numbers; fetch or save the model again",
    ),
    "truncated weights": (
        wrong.truncated_weights,
        "cannot load the weights of '{tmp}/cut': Error while deserializing header: invalid header "
        "length; the folder needs whole safetensors files",
    ),
    "pickled weights": (
        wrong.pickled_weights,
        "cannot load the weights of '{tmp}/pickled': Error no file named model.safetensors found "
        "in directory {tmp}/pickled.; the folder needs whole safetensors files",
    ),
}

DATA = {
    "no such file": (
        lambda folder: folder / "pear.jsonl",
        "no data set '{tmp}/pear.jsonl' in the folder '{tmp}'; give a file, a folder or a hub id "
        "such as McGill-NLP/stereoset",
    ),
    "too few for three splits": (
        lambda folder: wrong.pairs(folder, "few.jsonl", stories.rows()[:8]),
        "too few targets to make 3 splits (train, select, report): 'trade' has 2 of at least 3; "
        "name the report split's data with --report-data, leave the category out with "
        "--categories, or leave the target column out, which splits by pair (pairs that share a "
        "target or a text stay together)",
    ),
    "an empty file": (
        lambda folder: wrong.text(folder, "empty.jsonl", ""),
        "{tmp}/empty.jsonl: the file is empty; give a file with at least one row",
    ),
    "truncated JSON": (
        lambda folder: wrong.text(folder, "cut.json", '[{"stereotype": "a b", "anti'),
        "{tmp}/cut.json:1: column 24: broken JSON (Unterminated string starting at); the file may "
        "be truncated, fetch or write it again",
    ),
    "truncated gzip": (
        lambda folder: wrong.text(folder, "cut.json.gz", b"\x1f\x8b123"),
        "{tmp}/cut.json.gz: broken gzip (Compressed file ended before the end-of-stream marker "
        "was reached); fetch or compress it again",
    ),
    "not UTF-8": (
        lambda folder: wrong.text(folder, "latin.jsonl", b'{"stereotype": "caf\xe9"}'),
        "{tmp}/latin.jsonl: byte 19 is not UTF-8; save the file as UTF-8, for example with `iconv "
        "-f latin1 -t utf-8 latin.jsonl`",
    ),
    "duplicate ids": (
        lambda folder: wrong.pairs(folder, "twice.jsonl", [*stories.rows(), stories.rows()[0]]),
        "{tmp}/twice.jsonl:161: id: 'tradea-0' is also the id of row 1; give every row its own",
    ),
    "longer than the context": (
        lambda folder: wrong.pairs(folder, "long.jsonl", [*stories.rows(), wrong.long_row()]),
        "72 tokens in 'the wooden the wooden the wooden the wooden the wooden the wooden the "
        "wooden ...', but the model's context holds 64; shorten the text or leave the row out "
        "(cutting it would change the score)",
    ),
}

OPTIONS = {
    "--outputdir x": "No such option: --outputdir (Possible options: --output-dir). See `unskew "
    "unlearn --help`.",
    "--seed x": "Invalid value for '--seed': Input should be a valid integer, unable to parse "
    "string as an integer. See `unskew unlearn --help`.",
    "--categories trades": "{pairs}: unknown category 'trades'; did you mean 'trade'? (there are: "
    "creed, trade)",
    "--benchmarks stereosett": "unknown benchmark 'stereosett'; did you mean 'stereoset'? (there "
    f"are: {BENCHMARKS})",
    "--benchmarks slot": "benchmark 'slot' needs probes, of which the data has none; it can serve "
    "divergence, generation, perplexity, stereoset",
    "--format jsnol": "data.format: Input should be 'auto', 'stereoset', 'crows_pairs', 'jsonl', "
    "'csv', 'datasets' or 'bbq', got 'jsnol'",
    "--dtype float8": "model.dtype: Input should be 'float32', 'bfloat16' or 'float16', got "
    "'float8'",
    "--column stereotype": "--column stereotype is not of the form OURS=THEIRS",
    "--config {tmp}/no.yaml": "no configuration file {tmp}/no.yaml",
    "objective.betta=1": "stages.0.objective.betta: biasunlearn has no such setting; did you mean "
    "'beta'? (it has: beta, npo_reduction)",
    "objektive.beta=1": "unknown setting 'objektive.beta'; did you mean 'objective'? (see unskew "
    "list)",
    "objective.name=bias": "unknown objective 'bias'; did you mean 'biasunlearn'? (there are: "
    "biasunlearn, dpo, even, likelihood, sim_npo)",
    "objective.beta=-1": "beta is -1.0; NPO needs a positive number (0.1 is usual)",
    "objective.beta=[1": "override 'objective.beta=[1': '[1' is no YAML value; quote it",
    "objective.beta": "override 'objective.beta' is not of the form key=value",
    "training.max_stepz=3": "unknown setting 'stages.0.training.max_stepz'; did you mean "
    "'max_steps'?",
    "training.max_steps=0": "training.max_steps is 0; it must be positive",
    "controllers.dynamic_swap.swap_mode=sometimes": "stages.0.controllers.0.swap_mode: Input "
    "should be 'per_type', 'worst_only' or 'off', got 'sometimes'",
    "rule={name: plain}": "stages.0.rule.weights is missing; plain needs it",
    "chunk.retain=0": "stages.0.rule.weights.retain is {retain}, but stages.0.chunk.retain is "
    "0; give the stream rows or the part no weight",
    "data.splits.train=0.9": "the shares of the splits sum to 1.3; they have to sum to 1",
}


def retain_weight() -> float:
    return read_recipe("biasunlearn")["stages"][0]["rule"]["weights"]["retain"]


@pytest.fixture
def refuse(here, story, tmp_path):
    """Runs a command that must fail with these very words and leave no new folder behind."""

    def check(words, expected, *, code=2, beginning=False):
        said = here(*words)
        assert said.code == code, said.err
        message = said.err.strip().splitlines()[-1].removeprefix("unskew: ")
        filled = expected.replace("{tmp}", str(tmp_path)).replace("{pairs}", str(story.pairs))
        filled = filled.replace("{retain}", str(retain_weight()))
        assert (message[: len(filled)] if beginning else message) == filled
        assert "Traceback" not in said.err
        assert not (tmp_path / "new").exists()

    return check


@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_cannot_be_used(refuse, story, tmp_path, case):
    make, expected = MODELS[case]
    model = make(story.biased, tmp_path)
    named = ["--model", str(model), "--data", str(story.pairs)]
    words = ["unlearn", "biasunlearn", *named, "--output-dir", str(tmp_path / "new")]
    refuse(words, expected, beginning=True)


@pytest.mark.parametrize("case", DATA)
def test_data_that_cannot_be_used(refuse, story, tmp_path, case):
    make, expected = DATA[case]
    named = ["--model", str(story.biased), "--data", str(make(tmp_path))]
    words = ["unlearn", "biasunlearn", *named, "--output-dir", str(tmp_path / "new")]
    refuse(words, expected)


@pytest.mark.parametrize("given", OPTIONS)
def test_an_option_or_setting_that_is_wrong(refuse, story, tmp_path, given):
    more = given.replace("{tmp}", str(tmp_path))
    more = more.split(" ", 1) if more.startswith("--") else [more]
    named = ["--model", str(story.biased), "--data", str(story.pairs)]
    words = ["unlearn", "biasunlearn", *named, "--output-dir", str(tmp_path / "new"), *more]
    refuse(words, OPTIONS[given])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("unlern", "No such command 'unlern'. Did you mean 'unlearn'? See `unskew --help`."),
        ("data inspekt", "No such command 'inspekt'. Did you mean 'inspect'? See `unskew data "
         "--help`."),
        ("unlearn biasunlern", "unknown recipe 'biasunlern'; did you mean 'biasunlearn'? (there "
         f"are: {RECIPES}; or give a .yaml file)"),
        ("unlearn biasunlearn", "missing setting 'model'; give --model; missing setting 'data'; "
         "give --data"),
        ("unlearn {tmp}/own.yaml", "no configuration file {tmp}/own.yaml"),
        ("evaluate --model x", "--data is missing; name the pairs to score on"),
        ("evaluate --data x", "--model is missing; name a model, or stored scores with "
         "--predictions"),
        ("evaluate --data {pairs} --model x --start nowhere", "start: Input should be 'separate' "
         "or 'prefix', got 'nowhere'"),
        ("evaluate --data {pairs} --predictions {tmp}/no.json", "no predictions file "
         "{tmp}/no.json"),
        ("evaluate --data {pairs} --predictions x --start prefix", "--predictions holds stored "
         "answers, in place of a model; leave out --model, --adapter, --revision, --benchmarks, "
         "--start and --dtype"),
        ("evaluate --data world --format csv --model world", "data world comes with its own "
         "splits and categories; leave out data.format"),
        ("transfer --artifact a --model b --data {pairs} --scale 0", "scale is 0.0; it must be "
         "positive (1 carries the weights over whole)"),
        ("report {tmp}", "{tmp}/record.json does not exist; name the --output-dir of an unlearn "
         "or evaluate run"),
        ("data validate --data {tmp}/no.csv", "no data set '{tmp}/no.csv' in the folder '{tmp}'; "
         "give a file, a folder or a hub id such as McGill-NLP/stereoset"),
    ],
)  # fmt: skip
def test_other_commands(refuse, story, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    filled = words.replace("{tmp}", str(tmp_path)).replace("{pairs}", str(story.pairs))
    refuse(filled.split(), expected)


def test_a_tokenizer_without_padding_is_fine(here, story, tmp_path):
    """Nothing is padded by the tokenizer, so nothing is asked of it."""
    model = wrong.without_padding(story.biased, tmp_path)
    words = ["--model", str(model), "--data", str(story.pairs), "--benchmarks", "stereoset"]
    assert here("evaluate", *words, "--output-dir", str(tmp_path / "new")).code == 0


def test_a_folder_that_holds_something_else_is_left_alone(refuse, here, story, straight, tmp_path):
    words = story.unlearn(straight)
    refuse(
        words, f"{straight} already holds a run; go on with --resume or choose another --output-dir"
    )
    refuse(
        [*words, "--resume", "objective.beta=0.2"],
        f"{straight} holds a run with other settings (its config.yaml differs); resume with the "
        "same settings or choose another --output-dir",
    )
    other = wrong.text(tmp_path, "notes.txt", "mine").parent
    refuse(
        story.unlearn(other),
        f"{other} is not empty and holds no run; choose another --output-dir",
    )
    evaluation = ["evaluate", "--model", str(story.biased), "--data", str(story.pairs)]
    refuse(
        [*evaluation, "--output-dir", str(other)],
        f"{other} already holds something; choose another --output-dir",
    )


def test_an_adapter_of_another_base_or_a_broken_one(refuse, story, straight, tmp_path):
    def words(model, adapter):
        named = ["--model", str(model), "--data", str(story.pairs), "--adapter", str(adapter)]
        return ["evaluate", *named, "--output-dir", str(tmp_path / "new")]

    own = straight / "adapter"
    refuse(
        words(story.sibling, own),
        f"'{story.sibling}' is not the model the adapter in {own} was made on "
        f"('{story.biased}'); use unskew transfer to carry it over",
    )
    refuse(
        words(story.biased, tmp_path / "no"),
        "no adapter_config.json in {tmp}/no; give a run's adapter folder",
    )
    cut = Path(shutil.copytree(own, tmp_path / "cut"))
    (cut / "adapter_model.safetensors").write_bytes(adapter_bytes(straight)[:500])
    refuse(
        words(story.biased, cut),
        f"the adapter in {cut} cannot be put on '{story.biased}': Error while deserializing "
        "header: invalid header length",
    )


def test_a_loss_that_is_not_a_number_keeps_the_weights_and_names_the_rows(here, story, tmp_path):
    folder = tmp_path / "diverged"
    hot = ["--benchmarks", "stereoset", "training.learning_rate=1e30", "training.warmup_steps=0"]
    said = here(*story.unlearn(folder, *hot))
    assert said.code == 1
    message = said.err.strip().splitlines()[-1]
    assert message.startswith("unskew: part 'forget' is not finite on ")
    named = message.removeprefix("unskew: part 'forget' is not finite on ").partition(" at step")[0]
    known = {row["id"] for row in stories.rows()}
    assert {name.partition("|")[0] for name in named.split(", ")} <= known
    assert message.endswith(
        f"at step 2; the weights before it are in {folder}/diverged-1. Lower "
        "training.learning_rate or the weight of that part"
    )
    assert (folder / "diverged-1" / "adapter_model.safetensors").is_file()
    assert (folder / "record.json").is_file()


@pytest.mark.usefixtures("without_page")
def test_a_full_disk_during_a_checkpoint_loses_nothing(here, story, straight, tmp_path):
    """A limit on the size of a file stands in for the disk: the optimizer's does not fit."""
    folder = tmp_path / "full"
    optimizer = straight / "checkpoint-36" / "optimizer.safetensors"
    most = optimizer.stat().st_size - 1
    assert max(p.stat().st_size for p in straight.glob("best-*/*")) < most
    done = subprocess.run(
        command(*story.unlearn(folder)), env=environment(), capture_output=True, text=True,
        check=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        f"unskew: cannot write {folder}/checkpoint-12: Error while serializing: I/O error: File "
        "too large (os error 27); what was there before is intact. Free some space or choose "
        "another --output-dir, then go on with --resume"
    )
    assert not list(folder.glob("checkpoint-*")) and not list(folder.glob(".checkpoint-*"))
    assert here(*story.unlearn(folder), "--resume").code == 0
    assert essence(folder) == essence(straight)


def test_traceback_shows_where_an_error_was_raised(here, tmp_path):
    said = here("report", str(tmp_path), "--traceback")
    assert said.code == 2
    assert "Traceback" in said.err
    assert said.err.strip().splitlines()[-1].startswith("unskew: ")
