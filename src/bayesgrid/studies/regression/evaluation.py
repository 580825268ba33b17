"""How good the predictive densities of one seed are on the test rows.

Predictions are those of the network without dropout, as in the reference's test evaluation: agents differ in which
labels they buy, and dropout masks serve that choice alone.
"""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bayesgrid.metrics.calibration import central_coverage, mean_interval_width, pit_distance
from bayesgrid.metrics.point_errors import mean_absolute_error, root_mean_squared_error
from bayesgrid.studies.regression.models.exact_prediction import ExactPrediction, exact_prediction, mode_of_samples
from bayesgrid.studies.regression.models.layout import ParameterLayout
from bayesgrid.studies.regression.models.posterior import predict

__all__ = ["TEST_METRICS", "evaluate"]

TEST_METRICS = (
    "nll",
    "nll_standardised",
    "crps",
    "mae_median",
    "mae_mode64",
    "rmse_mean",
    "cov90",
    "width90",
    "pit_ks",
)
"""``nll_standardised`` is per standard deviation of the initial labels; all others are for targets scaled to [0, 1]."""


def evaluate(
    parameters: dict[str, Tensor],
    layout: ParameterLayout,
    features: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float64],
    *,
    location: float,
    scale: float,
    normal: npt.NDArray[np.floating],
) -> tuple[dict[str, float], ExactPrediction]:
    """Return the metrics named in ``TEST_METRICS`` and the prediction of every test row.

    Args:
        parameters: of one seed, by name, without a leading axis.
        layout: of the parameters.
        features: `[n, d]`.
        targets: `[n]`, scaled to [0, 1] by the training part.
        location: mean of the initial labels, which the network's targets were reduced by.
        scale: their standard deviation, which the network's targets were divided by.
        normal: `[n, 64]`, standard-normal numbers for the reference's point prediction.
    """
    densities = predict(parameters, layout, features)
    standardised = exact_prediction(densities, (targets - location) / scale)
    prediction = standardised.rescaled(location, scale)
    modes = location + scale * mode_of_samples(densities, normal)
    metrics = {
        "nll": -float(prediction.log_density.mean()),
        "nll_standardised": -float(standardised.log_density.mean()),
        "crps": float(prediction.crps.mean()),
        "mae_median": mean_absolute_error(prediction.median, targets),
        "mae_mode64": mean_absolute_error(modes, targets),
        "rmse_mean": root_mean_squared_error(prediction.mean, targets),
        "cov90": central_coverage(prediction.probability_integral, level=0.9),
        "width90": mean_interval_width(prediction.lower, prediction.upper),
        "pit_ks": pit_distance(prediction.probability_integral),
    }
    return metrics, prediction
