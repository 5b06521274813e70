"""An editor network: from what a linear map read and how its output should move to one shift of it.

Pure mathematics. A place is a position of a text that predicts a scored token; there the map read
`u` (inputs) and the loss has the gradient `g` in what the map gave (outputs).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

PLACES_AT_ONCE = 4096
"""Places that go through the network together where nothing is kept for a backward pass."""


class RunningMoments(nn.Module):
    """Mean and standard deviation of every column seen so far, batch by batch.

    Args:
        width: Columns.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(width, dtype=torch.float64))

    @torch.no_grad()
    def update(self, rows: Float[Tensor, "place width"]) -> None:
        """Take in rows; the result does not depend on how they are cut into batches."""
        exact, size = rows.double(), len(rows)
        total = self.count + size
        shift = exact.mean(0) - self.mean
        self.squares += ((exact - exact.mean(0)) ** 2).sum(0) + shift**2 * self.count * size / total
        self.mean += shift * size / total
        self.count.copy_(total)

    def standardised(self, rows: Float[Tensor, "place width"]) -> Float[Tensor, "place width"]:
        """Each column less its mean, over its standard deviation; a constant one becomes 0."""
        std = (self.squares / self.count.clamp(min=1)).sqrt()
        scale = torch.where(std > 0, 1 / std, 0.0)
        return ((rows.double() - self.mean) * scale).to(rows.dtype)


class EditorBlock(nn.Module):
    """`z + scale * max(z A B + bias, 0) + shift`, scale and shift of the module's own.

    Args:
        width: Of z.
        rank: Of `A B`. A is standard normal and B zero, so that a new block changes nothing.
        num_modules: Modules that share A, B and bias.
    """

    def __init__(self, width: int, rank: int, num_modules: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(width, rank))
        self.up = nn.Parameter(torch.zeros(rank, width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.ones(num_modules, width))
        self.shift = nn.Parameter(torch.zeros(num_modules, width))

    def forward(self, z: Tensor, module: int) -> Tensor:
        # Not `relu`, whose gradient at 0 is 0: a new block stands there and would stay for good.
        found = (z @ self.down @ self.up + self.bias).clamp(min=0)
        return z + self.scale[module] * found + self.shift[module]


class Editor(nn.Module):
    """The network of all modules of one shape.

    Args:
        num_inputs: Width of u.
        num_outputs: Width of g.
        num_modules: Modules of that shape.
        rank: Of each block.
        num_blocks: Blocks.
        step_size: Where the learned step size eta of each module begins.

    Source: MALMEN, Tan et al. 2024, arXiv 2311.04661, as BiasEdit (arXiv 2503.08588) uses it.
    Departs: the standard deviation is the population's (the code adds count times the unbiased
    variance of each batch), and moments are kept in float64.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        num_modules: int,
        *,
        rank: int,
        num_blocks: int,
        step_size: float,
    ) -> None:
        super().__init__()
        width = num_inputs + num_outputs
        self.widths = [num_inputs, num_outputs]
        self.moments = RunningMoments(width)
        self.blocks = nn.ModuleList(
            EditorBlock(width, rank, num_modules) for _ in range(num_blocks)
        )
        self.step_size = nn.Parameter(torch.full((num_modules,), step_size))
        self.log_ridge = nn.Parameter(torch.zeros(num_modules))

    def output_changes(
        self, u: Float[Tensor, "place inputs"], g: Float[Tensor, "place outputs"], module: int
    ) -> Float[Tensor, "place outputs"]:
        """What the map should give more at each place: `D_i = -eta (u_i . u~_i) g~_i`."""
        z = self.moments.standardised(torch.cat((u, g), -1))
        for block in self.blocks:
            z = block(z, module)
        made_u, made_g = z.split(self.widths, -1)
        return -self.step_size[module] * (u * made_u).sum(-1, keepdim=True) * made_g

    @torch.no_grad()
    def shift(
        self, u: Float[Tensor, "place inputs"], g: Float[Tensor, "place outputs"], module: int
    ) -> Float[Tensor, "inputs outputs"]:
        """The shift of a map `x W`, shape (inputs, outputs)."""
        changes = torch.cat([self.output_changes(a, b, module) for a, b in _parts(u, g)])
        return Ridge(u, self.log_ridge[module]).shift(changes)

    def backward(
        self,
        u: Float[Tensor, "place inputs"],
        g: Float[Tensor, "place outputs"],
        module: int,
        shift: Float[Tensor, "inputs outputs"],
        gradient: Float[Tensor, "inputs outputs"],
    ) -> None:
        """Add to the parameters' gradients those of a loss, given its gradient in the shift.

        Exact: `M = (U'U + e^rho)^-1 dL/dShift`, `dL/dD = U M`, `dL/drho = -e^rho sum(M * Shift)`.
        The places go through the network again, some at a time.
        """
        adjoint = Ridge(u, self.log_ridge[module]).solve(gradient.double())
        of_ridge = -self.log_ridge[module].exp().detach() * (adjoint * shift.double()).sum()
        (of_ridge.to(shift.dtype) * self.log_ridge[module]).backward()
        of_changes = (u.double() @ adjoint).to(u.dtype)
        for own_u, own_g, wanted in _parts(u, g, of_changes):
            (self.output_changes(own_u, own_g, module) * wanted).sum().backward()


class Ridge:
    """Solves with `U'U + e^rho I` in float64, by whichever side of U is the shorter.

    Args:
        inputs: U.
        log_ridge: rho, one number.
    """

    def __init__(self, inputs: Float[Tensor, "place inputs"], log_ridge: Float[Tensor, ""]) -> None:
        self.inputs = inputs.detach().double()
        self.ridge = log_ridge.detach().double().exp()
        places, width = inputs.shape
        self._by_place = places < width
        u = self.inputs if self._by_place else self.inputs.T
        eye = torch.eye(len(u), dtype=u.dtype, device=u.device)
        self._factor = torch.linalg.cholesky(u @ u.T + self.ridge * eye)

    def solve(self, right: Float[Tensor, "inputs outputs"]) -> Float[Tensor, "inputs outputs"]:
        """`(U'U + e^rho I)^-1 right`."""
        if not self._by_place:
            return torch.cholesky_solve(right, self._factor)
        u = self.inputs
        return (right - u.T @ torch.cholesky_solve(u @ right, self._factor)) / self.ridge

    def shift(self, changes: Float[Tensor, "place outputs"]) -> Float[Tensor, "inputs outputs"]:
        """The shift that gives the changes as nearly as it can, `(U'U + e^rho I)^-1 U'D`."""
        return self.solve(self.inputs.T @ changes.double()).to(changes.dtype)


def _parts(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(t.split(PLACES_AT_ONCE) for t in tensors), strict=True))
