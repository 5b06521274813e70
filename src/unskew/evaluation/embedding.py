"""Vectors of texts, pooled from hidden states."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unskew.embeddings import Embedding, EmbeddingRequest, Pooling
from unskew.errors import BenchmarkError
from unskew.models.logprobs import Batch

Vector = NDArray[np.float32]


class Vectors:
    """The vectors of texts, and the answers to requests for them.

    Args:
        poolings: Those that will be asked for.
    """

    def __init__(self, poolings: Collection[Pooling]) -> None:
        self._vectors: Mapping[Pooling, dict[str, Vector]] = {name: {} for name in poolings}
        self._sets: dict[tuple[Pooling, tuple[str, ...]], Vector] = {}

    def add(self, texts: Sequence[str], states: Tensor, batch: Batch) -> None:
        """Take in the states of a batch, one text a row.

        Args:
            texts: Of each row.
            states: Of each position, float32, shape (position, width).
            batch: The rows; its positions are the tokens that count.

        Raises:
            BenchmarkError: A vector is zero or not finite.
        """
        lengths = torch.bincount(batch.row_index, minlength=len(texts))
        for pooling, known in self._vectors.items():
            if pooling == "last":
                pooled = states[lengths.cumsum(0) - 1]
            else:
                empty = states.new_zeros(len(texts), states.shape[1])
                pooled = empty.index_add(0, batch.row_index, states) / lengths[:, None]
            usable = pooled.isfinite().all(1) & pooled.any(1)
            for text, vector, is_usable in zip(
                texts, pooled.cpu().numpy(), usable.tolist(), strict=True
            ):
                if not is_usable:
                    raise BenchmarkError(
                        f"the model's hidden state of {text!r} is zero, NaN or infinite; its "
                        "weights or dtype are at fault (try --dtype float32)"
                    )
                known[text] = vector

    def of(self, request: EmbeddingRequest) -> Embedding:
        """The vectors of a request."""
        vector = self._vectors[request.pooling][request.text]
        return Embedding(vector, tuple(self._set(request.pooling, texts) for texts in request.sets))

    def _set(self, pooling: Pooling, texts: tuple[str, ...]) -> Vector:
        key = (pooling, texts)
        if key not in self._sets:
            self._sets[key] = np.stack([self._vectors[pooling][text] for text in texts])
        return self._sets[key]
