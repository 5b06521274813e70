"""Means and second moments of hidden states and a concept, over batches."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from unskew.errors import ConfigError
from unskew.protocols import LabelledStates


class Moments:
    """Mean of x, its covariance, and its covariance with z, all in float64.

    Each batch is centred on its own mean before it is added, so a mean far from 0 costs no digits.

    Source: Chan, Golub and LeVeque 1983, the update of means and sums of squares by blocks.
    """

    def __init__(self, width: int, num_concepts: int) -> None:
        self.count = 0
        self.mean = torch.zeros(width, dtype=torch.float64)
        self._mean_z = torch.zeros(num_concepts, dtype=torch.float64)
        self._xx = torch.zeros(width, width, dtype=torch.float64)
        self._xz = torch.zeros(width, num_concepts, dtype=torch.float64)

    def update(self, x: Float[Tensor, "state width"], z: Float[Tensor, "state concept"]) -> None:
        """Add a batch.

        Raises:
            ConfigError: A state is not finite.
        """
        x, z = x.double().cpu(), z.double().cpu()
        if not torch.isfinite(x).all():
            raise ConfigError("a hidden state is not finite; load the model in float32")
        total = self.count + len(x)
        share = self.count * len(x) / total
        mean_x, mean_z = x.mean(0), z.mean(0)
        by_x, by_z = mean_x - self.mean, mean_z - self._mean_z
        centred = x - mean_x
        self._xx += centred.T @ centred + share * torch.outer(by_x, by_x)
        self._xz += centred.T @ (z - mean_z) + share * torch.outer(by_x, by_z)
        self.mean = self.mean + by_x * (len(x) / total)
        self._mean_z = self._mean_z + by_z * (len(x) / total)
        self.count = total

    @property
    def covariance(self) -> Float[Tensor, "width width"]:
        """Of x, divided by the count."""
        return self._xx / self.count

    @property
    def cross_covariance(self) -> Float[Tensor, "width concept"]:
        """Of x and z, divided by the count."""
        return self._xz / self.count


def within_tuples(values: Float[Tensor, "state column"], seen: LabelledStates) -> Tensor:
    """Values less the mean over their tuple, in float64."""
    values = values.double()
    _, place = seen.tuples.unique(return_inverse=True)
    size = torch.bincount(place).double()
    total = values.new_zeros(len(size), values.shape[1]).index_add(0, place, values)
    return values - (total / size[:, None])[place]
