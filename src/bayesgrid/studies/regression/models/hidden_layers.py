"""What happens between two matrix products of a stack: ReLU, dropout, and the way back."""

import numpy as np
import numpy.typing as npt

from bayesgrid.studies.regression.models.compilation import compiled

__all__ = ["activate", "differentiate_activation", "dropout_factors"]


def dropout_factors(
    probabilities: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return thresholds and scales, both `[S]`, of S networks with dropout ``probabilities`` `[S]`.

    A uniform 16-bit number is below the threshold with the probability, to a rounding of 1/131072; what is kept is
    multiplied by the scale, 1 / (1 - probability), which is 1 where nothing is dropped.
    """
    thresholds = np.rint(probabilities * 65536).astype(np.int64)
    return thresholds, np.where(thresholds > 0, 1 / (1 - probabilities), 1.0).astype(np.float32)


@compiled
def activate(
    values: npt.NDArray[np.float32],
    bits: npt.NDArray[np.uint16],
    thresholds: npt.NDArray[np.int64],
    scales: npt.NDArray[np.float32],
    rectified: bool,
) -> None:
    """Apply ReLU and inverted dropout in place.

    Args:
        values: `[S, L]`, a stack of activations.
        bits: `[S, n]` with n <= L; a unit is dropped where its number is below the threshold; unread if that is 0.
        thresholds: `[S]`, 65536 times the dropout probability.
        scales: `[S]`, 1 / (1 - probability).
        rectified: whether ReLU comes first.
    """
    for seed in range(values.shape[0]):
        row = values[seed]
        threshold, scale = thresholds[seed], scales[seed]
        if threshold > 0:
            drawn = bits[seed]
            if rectified:
                for i in range(drawn.shape[0]):
                    value = row[i] * scale
                    row[i] = value if (drawn[i] >= threshold) and (value > np.float32(0)) else np.float32(0)
            else:
                for i in range(drawn.shape[0]):
                    row[i] = row[i] * scale if drawn[i] >= threshold else np.float32(0)
        elif rectified:
            for i in range(row.shape[0]):
                value = row[i]
                row[i] = value if value > np.float32(0) else np.float32(0)


@compiled
def differentiate_activation(
    gradient: npt.NDArray[np.float32],
    values: npt.NDArray[np.float32],
    bits: npt.NDArray[np.uint16],
    thresholds: npt.NDArray[np.int64],
    scales: npt.NDArray[np.float32],
    rectified: bool,
    rows: int,
    columns: int,
    parameter_gradient: npt.NDArray[np.float32],
    bias_offset: int,
) -> None:
    """Turn the gradient after ``activate`` into the one before it, in place, and sum it over rows for the bias.

    Args:
        gradient: `[S, L]`, gradients with respect to a stack of matrices `[rows, columns]`.
        values: `[S, L]`, what ``activate`` returned; unread if not rectified.
        bits: as given to ``activate``.
        thresholds: as given to ``activate``.
        scales: as given to ``activate``.
        rectified: as given to ``activate``.
        rows: of one matrix.
        columns: of one matrix.
        parameter_gradient: `[S, P]`; the bias's part is overwritten.
        bias_offset: where that part begins.
    """
    for seed in range(gradient.shape[0]):
        bias = parameter_gradient[seed, bias_offset : bias_offset + columns]
        bias[:] = np.float32(0)
        threshold, scale = thresholds[seed], scales[seed]
        for r in range(rows):
            row = gradient[seed, r * columns : (r + 1) * columns]
            if rectified:
                # A dropped unit is zero too, so the output tells all.
                output = values[seed, r * columns : (r + 1) * columns]
                for i in range(columns):
                    row[i] = row[i] * scale if output[i] > np.float32(0) else np.float32(0)
            elif threshold > 0:
                drawn = bits[seed, r * columns : (r + 1) * columns]
                for i in range(columns):
                    row[i] = row[i] * scale if drawn[i] >= threshold else np.float32(0)
            for i in range(columns):
                bias[i] += row[i]
