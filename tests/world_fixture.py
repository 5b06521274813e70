"""The taught world for tests that need models; taught once, then cached on disk."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from unskew.world.teach import TaughtWorld, taught_world
from unskew.world_names import WORLD

PLAIN_DATA = "941516cf632968aa30ce0468c7e05a77ff6a061b18101cd97ca5308eb29f2e8c"
PLAIN_WORDS = "a31a4ac4c327f1cece51d60fa11d8038b547beddfade5650271afba7a4a2a5bd"
PLAIN_TEXTS = {
    False: "781ec7d11e9656bc3f15a560d2ec030f18a7f331f1883716815a1668aeb0427d",
    True: "8bb882b6fdf625923e96e9ffab044007185ba2a96da717f1740ecdf0b975e824",
}
"""Digests of `world` of seed 0, by whether it is balanced; published figures rest on them."""


def digest(value: object) -> str:
    """SHA-256 of what stands for the value in Python."""
    return hashlib.sha256(repr(value).encode()).hexdigest()


@lru_cache
def taught(name: str = WORLD) -> TaughtWorld:
    """The world of seed 0 with its biased model and its oracle."""
    return taught_world(0, name=name, progress=False)
