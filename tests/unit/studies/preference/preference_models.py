"""Small models of every kind, and random features for them."""

import numpy as np
import torch

from bayesgrid.studies.preference.models.bayesian_exact import BayesianExact
from bayesgrid.studies.preference.models.bayesian_reference import BayesianReference
from bayesgrid.studies.preference.models.bradley_terry import BradleyTerry
from bayesgrid.studies.preference.models.general_preference import GeneralPreference
from bayesgrid.studies.preference.models.pair_preference import PairPreference
from bayesgrid.studies.preference.models.preference_model import ModelInputs

INPUTS = ModelInputs(responses=5, prompts=3)
_REFERENCE = {
    "prior_variance": 0.03,
    "kl_weight": 0.002,
    "kl_warmup": 10,
    "sample_mix": 0.4,
    "log_variance_offset": -5.0,
    "log_variance_range": (-8.0, 1.0),
}
MODELS = {
    "bradley_terry": BradleyTerry(INPUTS, 0, 1.0),
    "bradley_terry_hidden_gated": BradleyTerry(INPUTS, 8, 0.5, "linear"),
    "pair_preference": PairPreference(INPUTS, 8, 1.0),
    "general_preference": GeneralPreference(INPUTS, 0, 4, 0.1),
    "general_preference_gated": GeneralPreference(INPUTS, 8, 6, 0.1, gate_kind="linear"),
    "general_preference_squared_gate": GeneralPreference(INPUTS, 8, 6, 0.1, normalise=False, gate_kind="squared"),
    "hybrid_preference": GeneralPreference(INPUTS, 8, 4, 0.5, gate_kind="linear", reward=True),
    "bayesian_reference": BayesianReference(INPUTS, 8, 4, 0.1, **_REFERENCE, gate_kind="linear"),
    "bayesian_exact_sphere": BayesianExact(INPUTS, 8, 4, 0.1, gate_kind="linear"),
    "bayesian_exact_euclidean": BayesianExact(INPUTS, 0, 4, 1.0, geometry="euclidean", gate_kind="squared"),
}


def random_parameters(model, slots=2, scale=20.0, seed=0):
    """Weights large enough that gates and hidden layers matter."""
    drawn = model.initial_parameters([np.random.default_rng([seed, slot]) for slot in range(slots)])
    return {
        name: (
            weight * scale if name.endswith(("vector.weight", "gate.weight", "variance.weight")) else weight
        ).double()
        for name, weight in drawn.items()
    }


def random_features(slots, count, width, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((slots, count, width)))
