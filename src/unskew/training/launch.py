"""One process or several: started by `torchrun` or `accelerate launch`, found out here."""

from __future__ import annotations

import torch
from accelerate import PartialState
from transformers import set_seed


def start(seed: int) -> None:
    """Join the other processes, if there are any, and seed every generator alike on each."""
    PartialState(cpu=not torch.cuda.is_available())
    set_seed(seed)


def is_main_process() -> bool:
    """Whether this process writes the files."""
    return PartialState().is_main_process


def num_processes() -> int:
    """How many processes share the run."""
    return PartialState().num_processes


def wait_for_everyone() -> None:
    """Go on when every process has come this far."""
    PartialState().wait_for_everyone()
