import numpy as np
import pytest
import torch
from torch import Tensor

from bayesgrid.acquisition.predictive_draws import GaussianDraws, SplineDraws
from bayesgrid.errors import ConfigurationError
from bayesgrid.studies.regression.models.exact_prediction import exact_prediction
from bayesgrid.studies.regression.models.gaussian import gaussian_parameters
from bayesgrid.studies.regression.models.layout import (
    ParameterLayout,
    aligned_stack,
    initial_parameters,
    network_layout,
)
from bayesgrid.studies.regression.models.posterior import (
    encode,
    posterior_draws,
    posterior_draws_per_row,
    posterior_masks,
    predict,
)
from bayesgrid.studies.regression.models.spline_flow import spline_knots
from bayesgrid.studies.regression.models.stacked_network import StackedNetwork, StackedWeights

ARCHITECTURES = ["spline_flow", "gaussian"]


def network(architecture: str, rectified: bool = True) -> tuple[ParameterLayout, Tensor, dict[str, Tensor]]:
    layout = network_layout(
        6,
        architecture=architecture,
        hidden=(8, 6, 10),
        head_hidden=(12, 9),
        bins=8,
        transforms=2,
        rectified=rectified,
    )
    flat = 2 * initial_parameters(layout, (5,))
    return layout, flat, {name: view[0] for name, view in layout.views(flat).items()}


def features_of(rows: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, 6)).astype(np.float32)


def draw_by_masking_activations(
    layout: ParameterLayout, parameters: dict[str, Tensor], features: np.ndarray, masks: list[np.ndarray], draw: int
) -> list[np.ndarray]:
    exact = {name: value.double() for name, value in parameters.items()}
    hidden = torch.from_numpy(features).double()
    for i, layer in enumerate(layout.encoder):
        hidden = hidden @ exact[f"{layer.name}.weight"] + exact[f"{layer.name}.bias"]
        if layout.rectified:
            hidden = torch.relu(hidden)
        if i > 0:
            hidden = hidden * torch.from_numpy(masks[i - 1][draw])
    outputs = []
    for head in layout.heads:
        values = torch.relu(hidden) if layout.architecture == "gaussian" else hidden
        for i, layer in enumerate(head):
            values = values @ exact[f"{layer.name}.weight"] + exact[f"{layer.name}.bias"]
            if i + 1 < len(head):
                values = torch.relu(values)
        outputs.append(values.float().numpy())
    return outputs


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_draws_equal_a_network_with_masked_activations(architecture: str, rectified: bool) -> None:
    layout, _, parameters = network(architecture, rectified)
    features = features_of(300)  # more than one chunk
    masks = posterior_masks(layout, 3, 2, 5, 0.4)
    draws = posterior_draws(parameters, layout, features, masks)
    assert (draws.draws, draws.inputs) == (5, 300)
    for draw in range(5):
        raw = draw_by_masking_activations(layout, parameters, features, masks, draw)
        if isinstance(draws, SplineDraws):
            for transform in range(2):
                knots = np.empty((300, 3, 9), dtype=np.float32)
                spline_knots(raw[transform], 8, knots)
                np.testing.assert_allclose(draws.knots[draw, :, transform], knots, atol=2e-5, rtol=1e-5)
        else:
            mean, deviation = gaussian_parameters(raw[0])
            np.testing.assert_allclose(draws.mean[draw], mean, atol=1e-5)
            np.testing.assert_allclose(draws.standard_deviation[draw], deviation, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_draws_without_dropout_are_the_prediction(architecture: str) -> None:
    layout, _, parameters = network(architecture)
    features = features_of(50)
    draws = posterior_draws(parameters, layout, features, posterior_masks(layout, 0, 0, 4, 0.0))
    prediction = predict(parameters, layout, features)
    for draw in range(4):
        if isinstance(draws, SplineDraws):
            np.testing.assert_allclose(draws.knots[draw], prediction.knots[0], atol=1e-5, rtol=1e-5)
        else:
            np.testing.assert_allclose(draws.mean[draw], prediction.mean[0], atol=1e-6)


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prediction_has_the_density_that_training_sees(architecture: str, rectified: bool) -> None:
    layout, flat, parameters = network(architecture, rectified)
    table = features_of(64)
    targets = np.random.default_rng(1).normal(0, 1.5, (1, 64)).astype(np.float32)
    features, _ = aligned_stack(1, 64, 6)
    features.copy_(torch.from_numpy(table))
    losses = StackedNetwork(layout, 1, 64).losses(StackedWeights(layout, flat), features, targets)
    exact = exact_prediction(predict(parameters, layout, table), targets[0])
    np.testing.assert_allclose(exact.log_density, -losses[0], atol=1e-4)


def test_masks_are_keyed_by_seed_and_round_and_scaled() -> None:
    layout, _, _ = network("gaussian")
    masks = posterior_masks(layout, 1, 4, 2000, 0.25)
    assert [mask.shape for mask in masks] == [(2000, 6), (2000, 10)]
    assert set(np.unique(masks[0])) == {np.float32(0), np.float32(1 / 0.75)}
    assert np.mean(masks[1] == 0) == pytest.approx(0.25, abs=0.02)
    assert np.array_equal(masks[1], posterior_masks(layout, 1, 4, 2000, 0.25)[1])
    assert not np.array_equal(masks[1], posterior_masks(layout, 1, 5, 2000, 0.25)[1])
    assert not np.array_equal(masks[1], posterior_masks(layout, 2, 4, 2000, 0.25)[1])


def test_network_without_dropout_layer_has_no_posterior() -> None:
    layout = network_layout(
        3, architecture="gaussian", hidden=(4,), head_hidden=(), bins=8, transforms=2, rectified=True
    )
    with pytest.raises(ConfigurationError, match=r"network\.hidden"):
        posterior_masks(layout, 0, 0, 3, 0.1)


def test_encoding_is_the_last_hidden_layer() -> None:
    layout, _, parameters = network("gaussian")
    features = features_of(9)
    last = gaussian_parameters(
        encode(parameters, layout, features) @ parameters["gaussian.0.weight"].numpy()
        + parameters["gaussian.0.bias"].numpy()
    )
    prediction = predict(parameters, layout, features)
    assert isinstance(prediction, GaussianDraws)
    np.testing.assert_allclose(last[0], prediction.mean[0], atol=1e-5)


@pytest.mark.parametrize("rectified", [True, False])
def test_masks_per_row_make_the_mean_activation_that_of_the_network(rectified: bool) -> None:
    """With one dropout layer and a linear head, the expectation over masks is the network without dropout."""
    layout = network_layout(
        6, architecture="gaussian", hidden=(8, 10), head_hidden=(), bins=8, transforms=2, rectified=rectified
    )
    parameters = {name: view[0] for name, view in layout.views(initial_parameters(layout, (5,))).items()}
    if not rectified:
        # The Gaussian head's own ReLU would not commute with the mean; a large bias keeps it idle.
        parameters["encoder.1.bias"] += 50
    features = features_of(200)
    draws = posterior_draws_per_row(parameters, layout, features, seed=1, round_number=0, draws=4000, dropout=0.3)
    assert isinstance(draws, GaussianDraws)
    expected = predict(parameters, layout, features)
    error = draws.mean.mean(axis=0) - expected.mean[0]
    standard_error = draws.mean.std(axis=0) / np.sqrt(4000)
    assert np.mean(np.abs(error) < 2 * standard_error) > 0.9
    assert np.all(np.abs(error) < 6 * standard_error)
    # Independent over rows: two rows' draws do not correlate, although equal rows have equal predictions.
    twins = posterior_draws_per_row(
        parameters, layout, np.repeat(features[:1], 2, axis=0), seed=1, round_number=0, draws=4000, dropout=0.3
    )
    assert isinstance(twins, GaussianDraws)
    assert abs(np.corrcoef(twins.mean[:, 0], twins.mean[:, 1])[0, 1]) < 0.06
    per_function = posterior_draws(
        parameters, layout, np.repeat(features[:1], 2, axis=0), posterior_masks(layout, 1, 0, 100, 0.3)
    )
    assert isinstance(per_function, GaussianDraws)
    np.testing.assert_allclose(per_function.mean[:, 0], per_function.mean[:, 1], rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_masks_per_row_without_dropout_are_the_prediction(architecture: str) -> None:
    layout, _, parameters = network(architecture, rectified=False)
    features = features_of(300)
    draws = posterior_draws_per_row(parameters, layout, features, seed=0, round_number=0, draws=3, dropout=0.0)
    prediction = predict(parameters, layout, features)
    for draw in range(3):
        if isinstance(draws, SplineDraws):
            np.testing.assert_allclose(draws.knots[draw], prediction.knots[0], atol=1e-5, rtol=1e-5)
        else:
            np.testing.assert_allclose(draws.mean[draw], prediction.mean[0], atol=1e-6)
            np.testing.assert_allclose(draws.standard_deviation[draw], prediction.standard_deviation[0], atol=1e-6)
