"""Several processes answer the requests together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch.distributed as dist

from unskew.types import Answer, Request

AnyRequest = TypeVar("AnyRequest", bound=Request)


def share_of(requests: Sequence[AnyRequest]) -> Sequence[AnyRequest]:
    """The requests that this process answers."""
    if not dist.is_initialized():
        return requests
    return requests[dist.get_rank() :: dist.get_world_size()]


def gathered(answers: dict[str, Answer]) -> dict[str, Answer]:
    """The answers of all processes, by request id."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return answers
    shares: list[dict[str, Answer] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(shares, answers)
    return {i: a for share in shares if share for i, a in share.items()}
