import numpy as np
import pytest
from scipy import integrate, special

from bayesgrid.acquisition.bernoulli_uncertainty import (
    bald,
    expected_entropy,
    houlsby_bald,
    mackay_probability,
    mean_probability,
    predictive_entropy,
    probability_variance,
    straddle,
)
from bayesgrid.errors import ConfigurationError, DataError

MEANS = [0.0, 0.3, -2.0, 8.0, -25.0]
VARIANCES = [1e-4, 0.05, 0.9, 0.999999, 1.0, 1.5, 4.0, 30.0, 250.0, 1000.0]


def _entropy(z):
    return np.log1p(np.exp(-np.abs(z))) + np.abs(z) * special.expit(-np.abs(z))


def _by_adaptive_quadrature(function, mean, variance):
    deviation = np.sqrt(variance)

    def integrand(z):
        return function(z) * np.exp(-0.5 * ((z - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))

    ends = mean - 12 * deviation, mean + 12 * deviation
    cuts = [cut for cut in (-40.0, -5.0, 0.0, 5.0, 40.0, mean) if ends[0] < cut < ends[1]]
    return integrate.quad(integrand, *ends, points=cuts, limit=400, epsabs=1e-13, epsrel=1e-12)[0]


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("variance", VARIANCES)
def test_expectations_are_those_of_adaptive_quadrature(mean, variance):
    probability = _by_adaptive_quadrature(special.expit, mean, variance)
    square = _by_adaptive_quadrature(lambda z: special.expit(z) ** 2, mean, variance)
    entropy = _by_adaptive_quadrature(_entropy, mean, variance)
    assert float(mean_probability(mean, variance)) == pytest.approx(probability, abs=1e-11)
    assert float(expected_entropy(mean, variance)) == pytest.approx(entropy, abs=1e-11)
    assert float(probability_variance(mean, variance)) == pytest.approx(square - probability**2, abs=1e-11)
    total = special.entr(probability) + special.entr(1 - probability)
    assert float(predictive_entropy(mean, variance)) == pytest.approx(total, abs=1e-10)
    assert float(bald(mean, variance)) == pytest.approx(total - entropy, abs=1e-10)


def test_expectations_are_those_of_draws():
    rng = np.random.default_rng(0)
    for mean, variance in ((1.0, 0.5), (-2.0, 9.0), (3.0, 400.0)):
        z = mean + np.sqrt(variance) * rng.normal(size=400_000)
        for values, found in (
            (special.expit(z), mean_probability(mean, variance)),
            (_entropy(z), expected_entropy(mean, variance)),
        ):
            assert abs(values.mean() - float(found)) < 4.5 * values.std() / np.sqrt(len(z))


def test_a_known_logit_tells_nothing_and_an_unknown_one_a_whole_bit():
    for mean in (0.0, 1.0, -30.0, 800.0):
        assert float(bald(mean, 0.0)) == 0.0
        assert float(probability_variance(mean, 0.0)) == pytest.approx(0.0, abs=1e-30)
        assert float(mean_probability(mean, 0.0)) == pytest.approx(special.expit(mean), rel=1e-12)
    assert float(bald(0.0, 1e14)) == pytest.approx(np.log(2), abs=1e-6)
    assert float(probability_variance(0.0, 1e14)) == pytest.approx(0.25, abs=1e-6)


def test_scores_are_even_within_their_bounds_and_grow_with_the_variance():
    means, variances = np.meshgrid(np.linspace(-40, 40, 161), np.concatenate([[0.0], np.geomspace(1e-9, 1e6, 200)]))
    scores = bald(means, variances)
    assert scores.shape == means.shape
    assert scores.min() >= 0.0
    assert scores.max() <= np.log(2)
    np.testing.assert_allclose(scores, scores[:, ::-1], rtol=1e-9)
    np.testing.assert_allclose(mean_probability(means, variances) + mean_probability(-means, variances), 1, atol=1e-15)
    assert np.diff(scores[:, 80]).min() > 0.0
    spread = probability_variance(means, variances)
    assert spread.min() >= 0.0
    assert spread.max() <= 0.25


@pytest.mark.parametrize("mean", [0.0, 1.5, 6.0, 20.0])
def test_small_variances_have_the_first_order(mean):
    p = special.expit(mean)
    for variance in (1e-12, 0.9e-7, 1.1e-7, 1e-6):
        assert float(bald(mean, variance)) == pytest.approx(0.5 * variance * p * special.expit(-mean), rel=1e-5)
        assert float(probability_variance(mean, variance)) == pytest.approx(
            variance * (p * special.expit(-mean)) ** 2, rel=1e-4
        )


def test_the_closed_forms_are_as_near_as_promised():
    means, variances = np.meshgrid(np.linspace(-8, 8, 81), np.linspace(0.0, 30.0, 121))
    houlsby = np.abs(houlsby_bald(means, variances) - bald(means, variances))
    mackay = np.abs(mackay_probability(means, variances) - mean_probability(means, variances))
    assert 0.02 < houlsby.max() < 0.03
    assert 0.01 < mackay.max() < 0.016


def test_the_straddle_prefers_logits_that_may_have_either_sign():
    assert straddle([0.0, 2.0, -2.0, 2.0], [1.0, 1.0, 1.0, 9.0]).tolist() == [1.0, -1.0, -1.0, 1.0]
    assert float(straddle(1.0, 4.0, kappa=3.0)) == 5.0


def test_what_is_not_finite_is_not_a_number():
    for function in (bald, mean_probability, expected_entropy, probability_variance, straddle, houlsby_bald):
        found = function([np.nan, 1.0, np.inf, 1.0], [1.0, np.nan, 1.0, 1.0])
        assert np.isnan(found).tolist() == [True, True, True, False]


def test_impossible_input_is_refused():
    with pytest.raises(DataError, match="negative"):
        bald(0.0, -1.0)
    with pytest.raises(ConfigurationError, match="nodes"):
        mean_probability(0.0, 1.0, nodes=2)
