"""Which labels one seed buys next, and what its agent's scores measure."""

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bayesgrid.acquisition.predictive_draws import PredictiveDraws, concatenate_draws
from bayesgrid.random_streams import random_stream
from bayesgrid.studies.regression.agents.interface import Agent, Query, Selection
from bayesgrid.studies.regression.labelled_rows import BlockRows
from bayesgrid.studies.regression.models.layout import ParameterLayout
from bayesgrid.studies.regression.models.posterior import (
    encode,
    posterior_draws,
    posterior_draws_per_row,
    posterior_masks,
    predict,
)
from bayesgrid.studies.regression.score_diagnostics import (
    batch_similarity,
    distinct_masks,
    grid_coverage,
    noise_floor,
    spread_correlations,
)
from bayesgrid.studies.regression.spec import RegressionSpec
from bayesgrid.studies.regression.training import REFERENCE_STREAM

__all__ = ["DIAGNOSTIC_COLUMNS", "SCORE_COLUMNS", "choose_labels"]

SCORE_COLUMNS = ("score_min", "score_median", "score_max", "score_ties", "score_nonfinite")
"""Spread of an agent's finite scores, how many repeat another one, and how many are not finite."""
DIAGNOSTIC_COLUMNS = (
    "score_candidates",
    "score_noise_floor",
    "grid_coverage",
    "score_aleatoric_correlation",
    "score_epistemic_correlation",
    "batch_similarity",
    "distinct_masks",
)
"""How many candidates were scored, and the quantities of :mod:`~bayesgrid.studies.regression.score_diagnostics`;
published if ``evaluation.diagnostics`` asks for them."""
_REFERENCE_GRID = (0.1, 0.9)
"""The interval, for targets scaled to [0, 1], that the reference code reads densities on."""


def choose_labels(
    spec: RegressionSpec,
    agent: Agent,
    layout: ParameterLayout,
    rows: BlockRows,
    place: int,
    labelled: npt.NDArray[np.int64],
    networks: list[dict[str, Tensor]],
    round_number: int,
    query_size: int,
) -> tuple[npt.NDArray[np.int64], dict[str, float]]:
    """Return the rows `[query_size]` that a seed buys, in the order it buys them, and numbers about the scores.

    Args:
        spec: of the run.
        agent: that chooses.
        layout: of the networks' parameters.
        rows: of the block of seeds.
        place: of the seed within the block.
        labelled: `[k]`, rows that have labels already.
        networks: parameters by name of the seed's network, or of all members of its ensemble.
        round_number: of the query.
        query_size: how many labels to buy.
    """
    seed, faithful = spec.seeds[place], spec.mode == "faithful"
    candidates = rows.pool(place, labelled)
    if len(candidates) > spec.labels.candidates:
        stream = random_stream(seed, "candidates", round_number)
        candidates = np.sort(stream.choice(candidates, spec.labels.candidates, replace=False))
    features, features_labelled = rows.features[candidates], rows.features[labelled]
    location, scale = float(rows.location[place]), float(rows.scale[place])
    _, dropout = spec.dropout_probabilities()

    def draws(probability: float) -> PredictiveDraws:
        return _draws(spec, layout, networks, features, seed, round_number, probability)

    def answer(probability: float) -> Selection:
        return agent(
            Query(
                features_candidates=features,
                candidate_ids=candidates,
                features_labelled=features_labelled,
                query_size=query_size,
                rng=random_stream(REFERENCE_STREAM if faithful else seed, "agent", round_number),
                draws=lambda: draws(probability),
                embeddings=lambda: (
                    encode(networks[0], layout, features),
                    encode(networks[0], layout, features_labelled),
                ),
                prediction=lambda: predict(networks[0], layout, features),
                location=location,
                scale=scale,
            )
        )

    selection = answer(dropout)
    columns = _score_summary(selection)
    if spec.evaluation.diagnostics:
        posterior = draws(dropout)
        aleatoric, epistemic = spread_correlations(selection.scores, posterior)
        encodings = encode(networks[0], layout, features)
        columns |= {
            "score_candidates": float(len(candidates)),
            "score_aleatoric_correlation": aleatoric,
            "score_epistemic_correlation": epistemic,
            "batch_similarity": batch_similarity(encodings[selection.chosen], encodings),
        }
        if faithful:
            low, high = ((end - location) / scale for end in _REFERENCE_GRID)
            columns["grid_coverage"] = grid_coverage(posterior, low, high)
        if spec.posterior.sampler == "dropout":
            columns["score_noise_floor"] = (
                math.nan if selection.scores is None else noise_floor(answer(0.0).scores, selection.scores)
            )
            if spec.posterior.masks == "per_function":
                masks = posterior_masks(layout, seed, round_number, spec.posterior.draws, dropout)
                columns["distinct_masks"] = float(distinct_masks(masks))
    # The reference takes chosen rows out of its pool from the highest position down, and fits in that order.
    chosen = np.sort(selection.chosen)[::-1] if faithful else selection.chosen
    return candidates[chosen], columns


def _draws(
    spec: RegressionSpec,
    layout: ParameterLayout,
    networks: list[dict[str, Tensor]],
    features: npt.NDArray[np.float32],
    seed: int,
    round_number: int,
    dropout: float,
) -> PredictiveDraws:
    posterior = spec.posterior
    if posterior.sampler == "ensemble":
        return concatenate_draws([predict(parameters, layout, features) for parameters in networks])
    if posterior.masks == "per_row":
        return posterior_draws_per_row(
            networks[0],
            layout,
            features,
            seed=seed,
            round_number=round_number,
            draws=posterior.draws,
            dropout=dropout,
        )
    masks = posterior_masks(layout, seed, round_number, posterior.draws, dropout)
    return posterior_draws(networks[0], layout, features, masks)


def _score_summary(selection: Selection) -> dict[str, float]:
    summary = {"score_nonfinite": float(selection.nonfinite)}
    if selection.scores is None:
        return summary
    finite = selection.scores[np.isfinite(selection.scores)]
    if len(finite) == 0:
        return summary
    return summary | {
        "score_min": float(finite.min()),
        "score_median": float(np.median(finite)),
        "score_max": float(finite.max()),
        "score_ties": float(len(finite) - len(np.unique(finite))),
    }
