"""Which learning rates, weight decays and dropouts a search evaluates."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from bayesgrid.random_streams import random_stream
from bayesgrid.studies.regression.spec import TrainingSpec
from bayesgrid.studies.regression_search.spec import RegressionSearchSpec, SearchSpace

__all__ = ["EvaluatedConfiguration", "drawn_configurations", "evaluated_configurations"]


@dataclass(frozen=True)
class EvaluatedConfiguration:
    """One set of values, and whether it was ``drawn``, is the study's ``defaults``, or was ``included``."""

    name: str
    origin: Literal["drawn", "defaults", "included"]
    learning_rate: float
    weight_decay: float
    dropout: float


def evaluated_configurations(spec: RegressionSearchSpec) -> list[EvaluatedConfiguration]:
    """Return the configurations of ``spec``: those drawn, the defaults of the study ``regression``, those included."""
    drawn = [
        EvaluatedConfiguration(f"{number}", "drawn", *values)
        for number, values in enumerate(
            drawn_configurations(spec.space, spec.configurations, spec.configuration_seed).tolist()
        )
    ]
    loop = TrainingSpec()
    defaults = EvaluatedConfiguration("defaults", "defaults", loop.learning_rate, loop.weight_decay, loop.dropout)
    included = [
        EvaluatedConfiguration(own.name, "included", own.learning_rate, own.weight_decay, own.dropout)
        for own in spec.include
    ]
    return [*drawn, defaults, *included]


def drawn_configurations(space: SearchSpace, count: int, seed: int) -> npt.NDArray[np.float64]:
    """Return learning rates, weight decays and dropouts `[count, 3]`: the first points of a scrambled Sobol sequence.

    They fill the space more evenly than independent draws (Owen 1998, Scrambling Sobol' and Niederreiter-Xing points);
    a smaller count gives the first rows of a larger one. Six significant digits, so that a preset can print them.
    """
    sequence = qmc.Sobol(d=3, scramble=True, rng=random_stream(seed, "search_configurations"))
    unit = sequence.random_base2(max(0, (count - 1).bit_length()))[:count]
    lowest, highest = np.array([space.learning_rate, space.weight_decay, space.dropout]).T
    values = lowest + (highest - lowest) * unit
    for column in (0, 1):
        values[:, column] = lowest[column] * (highest[column] / lowest[column]) ** unit[:, column]
    # Rounding must not leave the range.
    rounded = np.array([[float(f"{value:.6g}") for value in row] for row in values])
    return np.asarray(np.clip(rounded, lowest, highest))
