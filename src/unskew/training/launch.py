"""One process or several: started by `torchrun` or `accelerate launch`, found out here."""

from __future__ import annotations

import atexit

import torch
import torch.distributed as dist
from accelerate import PartialState
from transformers import set_seed

from unskew.training.determinism import prefer_deterministic_kernels


def start(seed: int) -> None:
    """Join the other processes, if there are any, and seed every generator alike on each."""
    prefer_deterministic_kernels()
    PartialState(cpu=not torch.cuda.is_available())
    if dist.is_initialized():
        # Threads of the process group that outlive the interpreter abort the process, and its exit
        # code with it; registering twice does no harm, as the second call finds nothing to do.
        atexit.register(leave)
    seed_all(seed)


def seed_all(seed: int) -> None:
    """Seed every generator."""
    set_seed(seed)


def leave() -> None:
    """Part from the other processes, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def is_main_process() -> bool:
    """Whether this process writes the files."""
    return PartialState().is_main_process


def num_processes() -> int:
    """How many processes share the run."""
    return PartialState().num_processes


def wait_for_everyone() -> None:
    """Go on when every process has come this far."""
    PartialState().wait_for_everyone()
