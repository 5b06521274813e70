"""Several processes answer the requests together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch.distributed as dist

from unskew.types import Answer, Request

Found = TypeVar("Found")
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


def by_first(make: Callable[[], Found]) -> Found:
    """What the first process makes, or the error it meets, on every process."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return make()
    told: list[tuple[Found | None, Exception | None] | None] = [None]
    if dist.get_rank() == 0:
        try:
            told = [(make(), None)]
        # The others wait for it, so it has to reach them too.
        except Exception as error:  # noqa: BLE001
            told = [(None, error)]
    dist.broadcast_object_list(told, src=0)
    assert told[0] is not None
    found, error = told[0]
    if error is not None:
        raise error
    return found  # type: ignore[return-value]
