"""Teaches a tiny GPT-2 the biased world, and another the balanced one: the oracle.

The two share initial weights, the order of the texts and all texts but for the attribute words
drawn, so that what is left between them is the bias and little else.

One model alone: ``python -m unskew.world.teach --seed 0 --output-dir DIR [--balanced]``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import transformers
from filelock import FileLock
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from unskew.errors import ArtifactError, RunError
from unskew.world import student
from unskew.world.language import World
from unskew.world_names import WORLD, WORLDS

Row = tuple[list[int], tuple[int, ...]]
"""Token ids of a text, and the places among them that weigh more."""


@dataclass(frozen=True, slots=True)
class TeachSettings:
    """How a model is taught. Both models of a world are taught alike."""

    batch_size: int = 32
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    decay_share: float = 0.6
    """Share of the steps, at the end, over which the learning rate falls linearly to nothing."""
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    emphasis: float = 6.0
    """Loss weight of the words that a text marks. It leaves the optimum of each conditional
    where it is and reaches it sooner."""
    bare_every: int = 4
    """Every so many batches begin without the start token, as StereoSet's authors score texts."""
    sorted_batches: int = 16
    """Batches that are cut from one stretch of the corpus sorted by length, to pad little."""


@dataclass(frozen=True, slots=True)
class TaughtWorld:
    """A world and its two models, as folders that transformers loads."""

    world: World
    biased: Path
    oracle: Path
    seconds: float
    """Wall time it took to teach both, whenever that was."""


def teach(
    world: World,
    *,
    balanced: bool,
    output_dir: Path,
    settings: TeachSettings = TeachSettings(),
    progress: bool = True,
) -> Path:
    """Teach one model in float32 on one thread, so that a machine always gives the same weights.

    Args:
        world: What to teach.
        balanced: False for the biased world, True for the oracle's.
        output_dir: Folder to be made; it appears only when complete.
        settings: The optimiser and the order of its food.
        progress: Whether to show a progress bar.

    Returns:
        `output_dir`, with config, safetensors weights and tokenizer.

    Raises:
        ArtifactError: `output_dir` exists.
    """
    if output_dir.exists():
        raise ArtifactError(f"{output_dir} exists; name a new folder or remove it")
    batches = list(_batches(world, balanced, settings))
    name = "oracle" if balanced else "biased"
    bar = tqdm(batches, desc=f"teach {name}", position=int(balanced), disable=not progress)
    with one_thread(), _seeded(world.seed):
        model = student.new_model(world)
        optimizer = torch.optim.AdamW(
            model.parameters(),
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        for step, (ids, weights) in enumerate(bar):
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(step, len(batches), settings)
            loss = _loss(model(input_ids=ids, use_cache=False).logits, ids, weights)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
    student.save(model, world, output_dir)
    return output_dir


def taught_world(
    seed: int = 0, cache_dir: Path | None = None, *, name: str = WORLD, progress: bool = True
) -> TaughtWorld:
    """Both models of a world, taught side by side in two processes unless they are cached.

    Where another process is teaching them already, its end is waited for.

    Args:
        seed: Seed of the world.
        cache_dir: Where taught worlds are kept; by default the folder that the environment
            variable UNSKEW_CACHE names, else `~/.cache/unskew`.
        name: Which world, as `World` takes it.
        progress: Whether to show a progress bar for each model.

    Raises:
        ConfigError: There is no world of this name.
        RunError: Teaching failed; the message holds the exit codes.
    """
    root = cache_dir or Path(os.environ.get("UNSKEW_CACHE") or Path.home() / ".cache" / "unskew")
    world = World(seed, name)
    folder = root / f"{name}-{seed}-{_version()}"
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{folder.name}.lock"):
            if not folder.exists():
                _teach_into(folder, world, progress)
    seconds = json.loads((folder / "taught.json").read_text())["seconds"]
    return TaughtWorld(world, folder / "biased", folder / "oracle", seconds)


def _teach_into(folder: Path, world: World, progress: bool) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".teaching-") as scratch:
        made = Path(scratch) / "world"
        made.mkdir()
        seconds = _teach_both(world, made, progress)
        (made / "taught.json").write_text(json.dumps({"seconds": seconds}))
        made.replace(folder)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for a model that keeps no second one busy; afterwards as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """A seeded random state; afterwards it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _batches(
    world: World, balanced: bool, settings: TeachSettings
) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and the loss weight of each, both (example, seq)."""
    token = {word: index for index, word in enumerate(world.words)}
    rng = random.Random(f"{world.seed}/batches")
    rows: Iterator[Row] = (
        (
            [student.START, *(token[word] for word in text.split()), student.END],
            tuple(place + 1 for place in marked),  # the start token stands before the words
        )
        for text, marked in world.training_texts(balanced=balanced)
    )
    number = 0
    while stretch := list(islice(rows, settings.batch_size * settings.sorted_batches)):
        stretch.sort(key=lambda row: len(row[0]))
        cuts = list(range(0, len(stretch), settings.batch_size))
        rng.shuffle(cuts)
        for cut in cuts:
            ids, weights = _padded(stretch[cut : cut + settings.batch_size], settings.emphasis)
            bare = int(number % settings.bare_every == 0)
            yield ids[:, bare:], weights[:, bare:]
            number += 1


def _padded(rows: Sequence[Row], emphasis: float) -> tuple[Tensor, Tensor]:
    # Padding stands on the right, where causal attention keeps it from all real tokens, and
    # weighs nothing; so no attention mask is needed and any token will do.
    length = max(len(tokens) for tokens, _ in rows)
    ids = torch.full((len(rows), length), student.END)
    weights = torch.zeros(len(rows), length)
    for row, (tokens, marked) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        weights[row, : len(tokens)] = 1.0
        weights[row, list(marked)] = emphasis
    return ids, weights


def _learning_rate(step: int, num_steps: int, settings: TeachSettings) -> float:
    """A short rise, a plateau, a straight fall."""
    rise = (step + 1) / settings.warmup_steps
    fall = (num_steps - step) / (settings.decay_share * num_steps)
    return settings.learning_rate * min(1.0, rise, fall)


def _loss(logits: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the negative log-likelihood, in nats per token."""
    counted = weights[:, 1:].flatten()
    nll = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    )
    return (nll * counted).sum() / counted.sum()


def _teach_both(world: World, folder: Path, progress: bool) -> float:
    """Teach `folder`/biased and `folder`/oracle at once; returns seconds of wall time."""
    began = time.monotonic()
    which = ["--seed", str(world.seed), "--name", world.name]
    command = [sys.executable, "-m", "unskew.world.teach", *which]
    if not progress:
        command.append("--quiet")
    running = [
        subprocess.Popen([*command, "--output-dir", str(folder / "biased")]),
        subprocess.Popen([*command, "--output-dir", str(folder / "oracle"), "--balanced"]),
    ]
    try:
        codes = [process.wait() for process in running]
    finally:
        for process in running:
            process.kill()
    if any(codes):
        raise RunError(
            f"teaching {world.name} of seed {world.seed} ended with exit codes {codes} where 0 "
            "is success; what went wrong stands on standard error"
        )
    return time.monotonic() - began


def _version() -> str:
    """Hash of all that decides the weights: this package's code and the libraries below it."""
    digest = hashlib.sha256(f"{torch.__version__} {transformers.__version__}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m unskew.world.teach", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the world")
    parser.add_argument("--name", choices=WORLDS, default=WORLD, help="which world")
    parser.add_argument("--balanced", action="store_true", help="teach the oracle's world")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to be made")
    given = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    teach(
        World(given.seed, given.name),
        balanced=given.balanced,
        output_dir=given.output_dir,
        progress=not given.quiet,
    )


if __name__ == "__main__":
    _main()
