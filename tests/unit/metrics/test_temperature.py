import numpy as np
import pytest
from scipy import optimize, special

from bayesgrid.errors import DataError
from bayesgrid.metrics.temperature import INVERSE_TEMPERATURE_BOUNDS, _loss, fit_inverse_temperature


def example(draws, *, sharpness, seed=0, examples=300, classes=5):
    """Logits sharper than calibrated by a factor, in draws that scatter, some questions with an option fewer."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(examples, classes))
    options = np.where(generator.random(examples) < 0.3, classes - 1, classes)
    shown = np.where(np.arange(classes) < options[:, None], logits, -np.inf)
    labels = (shown + generator.gumbel(size=logits.shape)).argmax(axis=1)
    return sharpness * (logits + 0.3 * generator.normal(size=(draws, examples, classes))), labels, options


def mean_loss(logits, labels, options, t):
    masked = np.where(np.arange(logits.shape[2]) < options[:, None], t * logits, -np.inf)
    averaged = special.softmax(masked, axis=2).mean(axis=0)
    return -np.log(averaged[np.arange(labels.size), labels]).mean()


@pytest.mark.parametrize("draws", [1, 2, 10])
@pytest.mark.parametrize("sharpness", [0.2, 1.0, 6.0])
def test_fit_is_the_minimum_that_a_bounded_search_finds(draws, sharpness):
    logits, labels, options = example(draws, sharpness=sharpness)
    found = fit_inverse_temperature(logits, labels, options)
    search = optimize.minimize_scalar(
        lambda u: mean_loss(logits, labels, options, np.exp(u)),
        bounds=np.log(INVERSE_TEMPERATURE_BOUNDS),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert found == pytest.approx(np.exp(search.x), rel=1e-4)
    assert mean_loss(logits, labels, options, found) <= search.fun + 1e-12


@pytest.mark.parametrize("draws", [1, 4])
def test_derivatives_are_those_of_differences(draws):
    logits, labels, options = example(draws, sharpness=2.0, examples=20)
    gaps = logits - np.take_along_axis(logits, labels[None, :, None], axis=2)
    gaps[:, np.arange(5) >= options[:, None]] = -np.inf
    loss, slope, curvature = _loss(gaps, 0.3)
    assert loss == pytest.approx(mean_loss(logits, labels, options, np.exp(0.3)))
    step = 1e-4
    after, before = (mean_loss(logits, labels, options, np.exp(0.3 + sign * step)) for sign in (1, -1))
    assert slope == pytest.approx((after - before) / (2 * step), rel=1e-5)
    assert curvature == pytest.approx((after - 2 * loss + before) / step**2, rel=1e-4)


def test_logits_made_sharper_are_scaled_back_by_the_same_factor():
    logits, labels, options = example(3, sharpness=1.0)
    once = fit_inverse_temperature(logits, labels, options)
    assert fit_inverse_temperature(7 * logits, labels, options) == pytest.approx(once / 7, rel=1e-6)


def test_predictions_that_are_all_right_or_all_wrong_end_at_the_bounds():
    logits = np.random.default_rng(1).normal(size=(1, 50, 4)) * 3
    options = np.full(50, 4)
    lower, upper = INVERSE_TEMPERATURE_BOUNDS
    assert fit_inverse_temperature(logits, logits[0].argmax(axis=1), options) == pytest.approx(upper, rel=0.5)
    assert fit_inverse_temperature(logits, logits[0].argmin(axis=1), options) == pytest.approx(lower, rel=0.5)


def test_a_label_beyond_its_options_is_a_data_error_that_names_the_example():
    with pytest.raises(DataError, match="example 1"):
        fit_inverse_temperature(np.zeros((1, 2, 4)), [0, 3], [4, 3])
