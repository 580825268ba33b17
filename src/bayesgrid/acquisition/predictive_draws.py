"""The predictive densities of one target under several draws from the posterior, as arrays.

Every score of this package reads one of the two classes below, so that a model hands over its densities once and pays
for no Python object per candidate. Targets are standardised: shifts and scales of the target cancel in all scores but
the Wasserstein distances and the spreads, which are then in units of the target's standard deviation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bayesgrid.errors import DataError

__all__ = ["GaussianDraws", "PredictiveDraws", "SplineDraws", "concatenate_draws"]


@dataclass(frozen=True)
class SplineDraws:
    """Conditional densities of a flow of two monotone rational-quadratic splines, one per draw and input.

    ``log p(y) = log N(r2(r1(y)); 0, 1) + log r1'(y) + log r2'(r1(y))``; both splines are the identity outside their
    first and last knot (Durkan et al. 2019, arXiv 1906.04032, section 3.1).

    Args:
        knots: float32 `[T, M, 2, 3, K + 1]`: T draws, M inputs, the splines r1 and r2, and for each knot of K bins its
            input position, its output position and the slope there. Positions must not decrease.

    Raises:
        DataError: if the shape is another one.
    """

    knots: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        shape = self.knots.shape
        if len(shape) != 5 or shape[0] < 1 or shape[2:4] != (2, 3) or shape[4] < 2:
            raise DataError("knots of spline draws have the wrong shape", given=shape, allowed="[T, M, 2, 3, K + 1]")
        if self.knots.dtype != np.float32:
            raise DataError("knots of spline draws have the wrong type", given=self.knots.dtype, allowed="float32")

    @property
    def draws(self) -> int:
        """T, the number of posterior draws."""
        return int(self.knots.shape[0])

    @property
    def inputs(self) -> int:
        """M, the number of inputs."""
        return int(self.knots.shape[1])


@dataclass(frozen=True)
class GaussianDraws:
    """Conditional Gaussian densities, one per draw and input.

    Args:
        mean: `[T, M]`: T draws, M inputs.
        standard_deviation: `[T, M]`, positive; NaN is let through, so that a diverged draw can be counted and skipped.

    Raises:
        DataError: if the shapes are others, or a standard deviation is zero or negative.
    """

    mean: npt.NDArray[np.floating]
    standard_deviation: npt.NDArray[np.floating]

    def __post_init__(self) -> None:
        shape = self.mean.shape
        if len(shape) != 2 or shape[0] < 1 or shape != self.standard_deviation.shape:
            raise DataError(
                "means and standard deviations of Gaussian draws have the wrong shape",
                given=f"{shape} and {self.standard_deviation.shape}",
                allowed="[T, M] both",
            )
        if bool(np.any(self.standard_deviation <= 0)):
            raise DataError(
                "a Gaussian draw has no width",
                given=float(np.nanmin(self.standard_deviation)),
                allowed="greater than 0",
            )

    @property
    def draws(self) -> int:
        """T, the number of posterior draws."""
        return int(self.mean.shape[0])

    @property
    def inputs(self) -> int:
        """M, the number of inputs."""
        return int(self.mean.shape[1])


PredictiveDraws = SplineDraws | GaussianDraws


def concatenate_draws(parts: Sequence[PredictiveDraws]) -> PredictiveDraws:
    """Return the draws of all ``parts`` at the same inputs as those of one posterior, in order.

    Raises:
        DataError: if there are no parts, or parts of different kinds.
    """
    splines = [part for part in parts if isinstance(part, SplineDraws)]
    gaussians = [part for part in parts if isinstance(part, GaussianDraws)]
    if splines and not gaussians:
        return SplineDraws(np.concatenate([part.knots for part in splines]))
    if gaussians and not splines:
        return GaussianDraws(
            np.concatenate([part.mean for part in gaussians]),
            np.concatenate([part.standard_deviation for part in gaussians]),
        )
    raise DataError(
        "draws to concatenate are of one kind",
        given=f"{len(splines)} of splines, {len(gaussians)} Gaussian",
        allowed="one or more, of one kind",
    )
