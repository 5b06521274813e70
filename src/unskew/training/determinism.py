"""The same numbers from the same seed on a GPU, where by default some kernels add in any order."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from unskew.errors import RunError

NO_SUCH_KERNEL = "does not have a deterministic implementation"


def prefer_deterministic_kernels() -> None:
    """From here on CUDA kernels add in a fixed order, wherever there is one that does.

    To be called before the first CUDA operation: cuBLAS reads its setting once. A CPU needs none.
    """
    if not torch.cuda.is_available():
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Forward passes use such kernels in sampling alone, where only a sum's last bits could move.
    warnings.filterwarnings("ignore", message=f".*{NO_SUCH_KERNEL}.*")
    warnings.filterwarnings("ignore", message=".*defaults to a non-deterministic algorithm.*")


@contextmanager
def deterministic_kernels(required: bool) -> Iterator[None]:
    """Inside, kernels that add in any order are refused if `required`; else nothing changes.

    The backward pass of attention has a fixed order only where it is required.

    Raises:
        RunError: The model needs a kernel of which there is no such form.
    """
    if not required or not torch.cuda.is_available():
        yield
        return
    before = torch.is_deterministic_algorithms_warn_only_enabled()
    was_on = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if NO_SUCH_KERNEL not in str(error):
            raise
        operation = str(error).split(NO_SUCH_KERNEL)[0].strip()
        raise RunError(
            f"on this GPU {operation} has no deterministic form; set "
            "training.full_determinism=false, and the same seed will give nearly the same numbers"
        ) from error
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=before)
