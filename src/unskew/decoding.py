"""Decoders from settings and from folders, on the model that they are for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unskew.assemble import build
from unskew.data.counterfactual import word_table
from unskew.decoders import DECODERS
from unskew.errors import ArtifactError, ConfigError
from unskew.evaluation.decoding import DecodedPath
from unskew.hub.decoders import read_decoder
from unskew.models.load import LoadedModel
from unskew.protocols import Decoder
from unskew.types import Pair

DOMAINS = "domains"


def with_words(node: Mapping[str, Any], table: str | None, pairs: Iterable[Pair]) -> dict[str, Any]:
    """A decoder's settings with the words of a table written out among them.

    Args:
        node: Name and settings.
        table: A file, `targets`, or None for a decoder that takes no words.
        pairs: Whose targets are meant.

    Raises:
        DataError: The table cannot be used.
        ConfigError: The words are given twice.
    """
    if table is None:
        return dict(node)
    if DOMAINS in node:
        raise ConfigError(f"decoder.{DOMAINS} and word_table both give words; leave one out")
    return {**node, DOMAINS: word_table(table, pairs).domains}


def decoder_of(node: Mapping[str, Any], path: str) -> Decoder:
    """The decoder that a node names; `strength` is a factor on its own settings.

    Raises:
        UnknownName: There is no such decoder.
        ConfigError: A setting is unknown, missing or wrong.
    """
    settings = {k: v for k, v in node.items() if k != "strength"}
    return build(DECODERS, settings, path).scaled(node.get("strength", 1.0))


def attach_decoder(loaded: LoadedModel, folder: str | Path) -> DecodedPath:
    """The model as a saved decoder has it read.

    Raises:
        ArtifactError: It cannot be read, or was made for another model.
    """
    folder = Path(folder)
    node = read_decoder(loaded, folder)
    try:
        decoder = decoder_of(node, "decoder")
    except ConfigError as error:
        raise ArtifactError(f"the decoder in {folder} cannot be made: {error}") from error
    return DecodedPath(loaded.model, decoder, loaded.encoder)
