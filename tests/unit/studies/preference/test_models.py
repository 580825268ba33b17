import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from bayesgrid.studies.preference.models.bayesian_exact import expected_loss
from bayesgrid.studies.preference.models.bayesian_reference import BayesianReference
from bayesgrid.studies.preference.models.general_preference import GeneralPreference
from bayesgrid.studies.preference.models.preference_model import ComparedPairs
from bayesgrid.studies.preference.models.skew_blocks import gate_multipliers, skew_score, skew_score_variance

SLOTS, PAIRS = 2, 7
KINDS = (
    "bradley_terry",
    "bradley_terry_hidden_gated",
    "pair_preference",
    "general_preference",
    "general_preference_gated",
    "general_preference_squared_gate",
    "hybrid_preference",
    "bayesian_reference",
    "bayesian_exact_sphere",
    "bayesian_exact_euclidean",
)


def compared(model, first, second, prompts, parameters):
    made = [model.represent(parameters, side) for side in (first, second)]
    return model.logits(parameters, made[0], made[1], model.gate(parameters, prompts))


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_exchanging_both_responses_negates_the_logit_and_keeps_its_variance(name, seed, kinds):
    model = kinds.MODELS[name]
    parameters = kinds.random_parameters(model, SLOTS, seed=seed)
    first, second = (kinds.random_features(SLOTS, PAIRS, kinds.INPUTS.responses, seed=seed + side) for side in (1, 2))
    prompts = kinds.random_features(SLOTS, PAIRS, kinds.INPUTS.prompts, seed=seed + 3)
    one_way, other_way = (compared(model, *sides, prompts, parameters) for sides in ((first, second), (second, first)))
    assert one_way.mean.abs().max() > 1e-3
    torch.testing.assert_close(one_way.mean, -other_way.mean, rtol=0, atol=1e-9)
    if one_way.variance is not None:
        torch.testing.assert_close(one_way.variance, other_way.variance, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_a_response_is_as_good_as_itself(name, kinds):
    model = kinds.MODELS[name]
    parameters = kinds.random_parameters(model, SLOTS)
    same = kinds.random_features(SLOTS, PAIRS, kinds.INPUTS.responses)
    logits = compared(model, same, same, kinds.random_features(SLOTS, PAIRS, kinds.INPUTS.prompts), parameters)
    torch.testing.assert_close(logits.mean, torch.zeros(SLOTS, PAIRS, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_a_slot_has_the_loss_and_gradient_that_it_has_alone(name, kinds):
    model = kinds.MODELS[name]
    parameters = {key: value.requires_grad_() for key, value in kinds.random_parameters(model, 3).items()}
    rng = np.random.default_rng(5)
    pairs = ComparedPairs(
        kinds.random_features(3, 2 * PAIRS, 5, 1),
        kinds.random_features(3, PAIRS, 3, 3),
        torch.from_numpy(rng.integers(0, 2, (3, PAIRS)).astype(float)),
        torch.from_numpy(rng.random((3, 2 * PAIRS))),
    )
    noise = torch.from_numpy(rng.standard_normal((3, 2 * PAIRS, model.noise_width))) if model.noise_width else None
    together = model.losses(parameters, pairs, noise, 4)
    gradients = torch.autograd.grad(together.sum(), list(parameters.values()), allow_unused=True)
    own = {key: value[1:2].detach().requires_grad_() for key, value in parameters.items()}
    alone = ComparedPairs(*(getattr(pairs, field)[1:2] for field in ComparedPairs.__dataclass_fields__))
    loss = model.losses(own, alone, None if noise is None else noise[1:2], 4)
    torch.testing.assert_close(together[1], loss[0])
    for gradient, single in zip(
        gradients, torch.autograd.grad(loss.sum(), list(own.values()), allow_unused=True), strict=True
    ):
        if single is not None:
            torch.testing.assert_close(gradient[1:2], single)


def test_skew_score_is_the_product_with_the_matrix_of_blocks():
    rng = np.random.default_rng(0)
    first, second, multipliers = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((9, 6), (9, 6), (9, 3)))
    for pair in range(9):
        matrix = torch.zeros(6, 6, dtype=torch.float64)
        for block in range(3):
            matrix[2 * block, 2 * block + 1] = -multipliers[pair, block]
            matrix[2 * block + 1, 2 * block] = multipliers[pair, block]
        expected = (matrix @ first[pair]) @ second[pair]
        torch.testing.assert_close(skew_score(first, second, multipliers)[pair], expected)


def test_unit_vectors_at_a_right_angle_score_one():
    score = skew_score(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    assert score == 1.0


def test_score_variance_of_unit_means_and_equal_variances_is_the_same_for_all_pairs(kinds):
    # 2 sigma^2 + d sigma^4: what makes the reference's variance score say nothing.
    means = torch.nn.functional.normalize(kinds.random_features(2, 300, 12), dim=-1)
    variance = torch.full_like(means, 0.03)
    found = skew_score_variance((means[0], variance[0]), (means[1], variance[1]))
    torch.testing.assert_close(found, torch.full_like(found, 2 * 0.03 + 12 * 0.03**2), rtol=1e-12, atol=0)


def test_score_variance_agrees_with_drawn_vectors():
    rng = np.random.default_rng(3)
    mean_1, mean_2 = rng.standard_normal((2, 6))
    variance_1, variance_2 = rng.random((2, 6)) + 0.1
    multipliers = np.array([0.5, 2.0, 1.0])
    drawn = [
        torch.from_numpy(mean + np.sqrt(variance) * rng.standard_normal((400_000, 6)))
        for mean, variance in ((mean_1, variance_1), (mean_2, variance_2))
    ]
    scores = skew_score(*drawn, torch.from_numpy(multipliers)).numpy()
    expected = float(
        skew_score_variance(
            tuple(map(torch.from_numpy, (mean_1, variance_1))),
            tuple(map(torch.from_numpy, (mean_2, variance_2))),
            torch.from_numpy(multipliers),
        )
    )
    error = scores.var() * np.sqrt(2 / len(scores)) * 3
    assert abs(scores.var() - expected) < 4 * error


def test_gate_that_has_learnt_nothing_multiplies_by_one_and_blocks_average_to_one(kinds):
    prompts = kinds.random_features(1, 4, 3)
    torch.testing.assert_close(
        gate_multipliers({"gate.weight": torch.zeros(1, 3, 5, dtype=torch.float64)}, prompts, "linear"),
        torch.ones(1, 4, 5, dtype=torch.float64),
    )
    weights = {"gate.weight": kinds.random_features(1, 3, 5, 9) * 4}
    linear, squared = (gate_multipliers(weights, prompts, kind) for kind in ("linear", "squared"))
    torch.testing.assert_close(linear.mean(-1), torch.ones(1, 4, dtype=torch.float64))
    torch.testing.assert_close(squared, linear.square())


def test_expected_loss_agrees_with_integration():
    for mean, variance, target in itertools.product((-3.0, 0.0, 2.0), (0.0, 0.4, 9.0), (0.0, 0.3, 1.0)):
        deviation = max(variance, 1e-12) ** 0.5

        def integrand(z, mean=mean, deviation=deviation, target=target):
            loss = np.logaddexp(0, z) - target * z
            return loss * np.exp(-0.5 * ((z - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))

        exact = integrate.quad(
            integrand, mean - 12 * deviation, mean + 12 * deviation, points=[mean, 0.0][: 1 + (variance > 1)]
        )[0]
        found = expected_loss(*(torch.tensor(value, dtype=torch.float64) for value in (mean, variance, target)))
        assert float(found) == pytest.approx(exact, abs=2e-4)


def test_reference_divergence_is_that_of_centred_normals(kinds):
    model: BayesianReference = kinds.MODELS["bayesian_reference"]
    variance = torch.from_numpy(np.random.default_rng(0).random((1, 3, 4)) * 0.1 + 0.001)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(torch.zeros_like(variance), variance.sqrt()), normal(torch.zeros_like(variance), 0.03**0.5)
    ).sum(-1)
    torch.testing.assert_close(model.divergence(variance), expected)


def test_euclidean_divergence_counts_means_too(kinds):
    model = kinds.MODELS["bayesian_exact_euclidean"]
    made = model.represent(kinds.random_parameters(model), kinds.random_features(2, 3, 5))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(made["vector"], made["variance"].sqrt()),
        normal(torch.zeros_like(made["vector"]), torch.full_like(made["vector"], model.prior_variance**0.5)),
    ).sum(-1)
    torch.testing.assert_close(model.divergence(made), expected)


def test_exact_model_starts_at_the_variance_it_is_told(kinds):
    model = kinds.MODELS["bayesian_exact_sphere"]
    parameters = model.initial_parameters([np.random.default_rng(0)])
    made = model.represent(parameters, torch.zeros(1, 1, 5))
    torch.testing.assert_close(made["variance"], torch.full((1, 1, 4), model.variance_start))


def test_hybrid_without_a_reward_is_the_general_model(kinds):
    hybrid = kinds.MODELS["hybrid_preference"]
    plain = GeneralPreference(kinds.INPUTS, 8, 4, 0.5, gate_kind="linear")
    parameters = kinds.random_parameters(hybrid)
    parameters["reward.weight"] = torch.zeros_like(parameters["reward.weight"])
    first, second, prompts = (
        kinds.random_features(2, 4, 5, 1),
        kinds.random_features(2, 4, 5, 2),
        kinds.random_features(2, 4, 3, 3),
    )
    torch.testing.assert_close(
        compared(hybrid, first, second, prompts, parameters).mean,
        compared(plain, first, second, prompts, parameters).mean,
    )
