"""Scores of single weights from what was measured of them; all are >= 0 unless signed is said."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from unskew.errors import ConfigError
from unskew.protocols import Gradient, WeightEvidence


class GradDelta:
    """What each weight's move from base to shadow took off the shadow's loss.

    Path attribution: `max(0, -g delta)`, g being the mean gradient along the straight line from the
    base to the shadow. Over all weights `g delta` sums to the difference of the losses at the ends,
    up to the error of the quadrature, which is told as completeness.

    Args:
        path_points: Nodes of the Gauss-Legendre quadrature; 1 is the midpoint, 3 come within two
            hundredths on a small model, 5 within two thousandths.
        signed: Count only moves that lowered the loss; if False, the size of either.

    Raises:
        ConfigError: path_points is not positive.

    Source: integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365, eq. 1) on weights.
    Departs: Gauss-Legendre in place of a Riemann sum; the end point is a shadow model.
    """

    gradient: Gradient = "path"
    needs_shadow = True

    def __init__(self, path_points: int = 3, signed: bool = True) -> None:
        if path_points < 1:
            raise ConfigError(f"path_points is {path_points}; the path needs at least 1 node")
        self.path_points = path_points
        self.signed = signed

    def score(self, seen: WeightEvidence) -> Float[Tensor, "..."]:
        assert seen.gradient is not None and seen.delta is not None
        fall = -seen.gradient * seen.delta
        return fall.clamp(min=0) if self.signed else fall.abs()


class Delta:
    """How far the shadow moved a weight, `|delta|`."""

    gradient: Gradient = "none"
    needs_shadow = True

    def score(self, seen: WeightEvidence) -> Float[Tensor, "..."]:
        assert seen.delta is not None
        return seen.delta.abs()


class Grad:
    """Gradient of the loss at the base model, `|g|`.

    Args:
        signed: Keep the sign, which `disentangle=project` needs; its size is taken there.
        abs_before_sum: Take the size of each row's gradient and then the mean, so that rows which
            pull a weight both ways do not cancel; another criterion, and a pass for each row.

    Raises:
        ConfigError: `signed` with `abs_before_sum`, which leaves no sign.

    Source: SalUn (Fan et al. 2024, arXiv 2310.12508), eq. 3. Departs: ranked, not cut at a level.
    """

    needs_shadow = False

    def __init__(self, signed: bool = False, abs_before_sum: bool = False) -> None:
        if signed and abs_before_sum:
            raise ConfigError("abs_before_sum leaves no sign; set signed=false, or leave it out")
        self.signed, self.abs_before_sum = signed, abs_before_sum
        self.gradient: Gradient = "absolute_rows" if abs_before_sum else "base"

    def score(self, seen: WeightEvidence) -> Float[Tensor, "..."]:
        assert seen.gradient is not None
        return seen.gradient if self.signed else seen.gradient.abs()


class GradWeight:
    """First-order change of the loss if the weight were 0, `|g w|`.

    Args:
        abs_before_sum: As in `Grad`.

    Source: SNIP (Lee et al. 2019, arXiv 1810.02340). Departs: not normalised over the model.
    """

    needs_shadow = False

    def __init__(self, abs_before_sum: bool = False) -> None:
        self.abs_before_sum = abs_before_sum
        self.gradient: Gradient = "absolute_rows" if abs_before_sum else "base"

    def score(self, seen: WeightEvidence) -> Float[Tensor, "..."]:
        assert seen.gradient is not None
        return (seen.gradient * seen.weight).abs()


class Fisher:
    """Root of the mean squared gradient of single rows: the diagonal of the empirical Fisher.

    At a trained model the mean gradient is near 0 and mostly noise; this still measures curvature.
    """

    gradient: Gradient = "rows"
    needs_shadow = False

    def score(self, seen: WeightEvidence) -> Float[Tensor, "..."]:
        assert seen.gradient is not None
        return seen.gradient.sqrt()
