import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from bayesgrid.errors import NumericalError
from bayesgrid.studies.regression.models.layout import (
    ParameterLayout,
    aligned_stack,
    initial_parameters,
    network_layout,
)
from bayesgrid.studies.regression.models.stacked_network import StackedNetwork, StackedWeights
from bayesgrid.studies.regression.training import FitResult, FitSettings, LabelledBlock, fit, starting_parameters

SETTINGS = FitSettings(
    learning_rate=3e-3,
    weight_decay=1e-4,
    dropout=0.1,
    batch_size=16,
    max_epochs=12,
    patience=2,
    minimum_improvement=1e-4,
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def layout_of(architecture: str, features: int = 5) -> ParameterLayout:
    return network_layout(
        features,
        architecture=architecture,
        hidden=(32, 32, 64, 128),
        head_hidden=(64, 64),
        bins=8,
        transforms=2,
        rectified=True,
    )


def block_of(seeds: tuple[int, ...], count: int = 50, features: int = 5, validation: int = 300) -> LabelledBlock:
    parts = []
    for seed in seeds:
        rng = np.random.default_rng(1000 + seed)
        x = rng.random((count + validation, features)).astype(np.float32)
        y = (np.sin(5 * x[:, 0]) + 0.1 * rng.standard_normal(len(x))).astype(np.float32)
        parts.append((x[:count], y[:count], x[count:], y[count:]))
    counts = np.full(len(seeds), validation)
    return LabelledBlock(*(np.stack(arrays) for arrays in zip(*parts, strict=True)), counts)


def fit_block(seeds: tuple[int, ...], architecture: str = "spline_flow", **changes: object) -> FitResult:
    layout = layout_of(architecture)
    settings = dataclasses.replace(SETTINGS, **changes)
    return fit(initial_parameters(layout, seeds), layout, block_of(seeds), seeds, (0,), settings)


@pytest.mark.parametrize("architecture", ["spline_flow", "gaussian"])
def test_seed_alone_equals_seed_in_any_block(architecture: str) -> None:
    together = fit_block((0, 1, 2, 3, 4, 5, 6), architecture)
    assert len(set(together.epochs.tolist())) > 1, "seeds must stop at different epochs for this test to mean anything"
    for seeds in [(3,), (6, 2), (5, 3, 0)]:
        part = fit_block(seeds, architecture)
        for place, seed in enumerate(seeds):
            assert torch.equal(part.parameters[place], together.parameters[seed])
            assert part.validation_nll[place] == together.validation_nll[seed]
            assert part.epochs[place] == together.epochs[seed]
            assert part.taken_epoch[place] == together.taken_epoch[seed]


@pytest.mark.parametrize("count", [9, 16, 37])
def test_seed_alone_equals_seed_in_block_for_odd_sizes(count: int) -> None:
    layout = layout_of("spline_flow", 3)
    settings = dataclasses.replace(SETTINGS, max_epochs=3)
    results = []
    for seeds in [(0, 1, 2), (1,)]:
        data = block_of(seeds, count, 3, 11)
        results.append(fit(initial_parameters(layout, seeds), layout, data, seeds, (4,), settings))
    assert torch.equal(results[0].parameters[1], results[1].parameters[0])


def test_filling_of_the_validation_rows_does_not_count() -> None:
    layout = layout_of("gaussian")
    results = []
    for filling in (0, 400):
        data = block_of((0, 1))
        extra = ((0, 0), (0, filling))
        filled = dataclasses.replace(
            data,
            validation_features=np.pad(data.validation_features, (*extra, (0, 0)), constant_values=9.0),
            validation_targets=np.pad(data.validation_targets, extra, constant_values=9.0),
        )
        results.append(fit(initial_parameters(layout, (0, 1)), layout, filled, (0, 1), (0,), SETTINGS))
    assert torch.equal(results[0].parameters, results[1].parameters)
    assert np.array_equal(results[0].validation_nll, results[1].validation_nll)


def test_stop_and_best_weights_follow_the_validation_curve() -> None:
    """Fitting for exactly e epochs, e = 1, 2, ..., gives the curve that the stopper must have seen."""
    layout = layout_of("spline_flow")
    seeds = (0, 1, 2)
    rate = 2e-2  # large enough for the curve to go up and down
    fits = [fit_block(seeds, max_epochs=epochs, patience=1000, learning_rate=rate) for epochs in range(1, 13)]
    data = block_of(seeds)

    def loss_of(result: FitResult, place: int) -> float:
        features, _ = aligned_stack(1, data.validation_features.shape[1], 5)
        features.copy_(torch.from_numpy(data.validation_features[place : place + 1]))
        network = StackedNetwork(layout, 1, features.shape[1])
        weights = StackedWeights(layout, result.parameters[place : place + 1].clone())
        return float(network.losses(weights, features, data.validation_targets[place : place + 1]).mean())

    stopped = fit_block(seeds, learning_rate=rate)
    for place in range(len(seeds)):
        best, best_epoch = np.inf, 0
        for epoch, result in enumerate(fits, start=1):
            if result.taken_epoch[place] == epoch:
                best, best_epoch = loss_of(result, place), epoch
            elif epoch - best_epoch >= SETTINGS.patience:
                break
        assert stopped.taken_epoch[place] == best_epoch
        assert stopped.epochs[place] == epoch
        assert stopped.validation_nll[place] == pytest.approx(best, abs=1e-6)
        assert loss_of(stopped, place) == pytest.approx(best, abs=1e-6)
    assert np.all(stopped.epochs < SETTINGS.max_epochs)
    assert np.all(stopped.taken_epoch < stopped.epochs)


def curve_of(seeds: tuple[int, ...], epochs: int, **changes: object) -> tuple[np.ndarray, list[FitResult]]:
    """Return the validation losses `[epochs, S]` and the fits that end after each epoch, by fitting anew for each."""
    fits = [
        fit_block(seeds, max_epochs=count, patience=1000, early_stopping="last_weights", **changes)
        for count in range(1, epochs + 1)
    ]
    return np.stack([result.validation_nll for result in fits]), fits


def test_last_weights_are_kept_where_the_best_are_not_restored() -> None:
    seeds = (0, 1, 2)
    losses, fits = curve_of(seeds, 12, learning_rate=2e-2)
    stopped = fit_block(seeds, learning_rate=2e-2, early_stopping="last_weights")
    restored = fit_block(seeds, learning_rate=2e-2)
    for place in range(len(seeds)):
        last = int(stopped.epochs[place])
        assert last == restored.epochs[place]
        assert stopped.taken_epoch[place] == last
        assert torch.equal(stopped.parameters[place], fits[last - 1].parameters[place])
        assert stopped.validation_nll[place] == losses[last - 1, place]
        best = int(restored.taken_epoch[place])
        assert torch.equal(restored.parameters[place], fits[best - 1].parameters[place])


def test_inverted_stopping_waits_for_a_rise_and_stops_while_the_fit_improves() -> None:
    seeds = (0, 1, 2)
    rate = 3e-4
    improving = fit_block(
        seeds, max_epochs=40, patience=5, early_stopping="inverted", minimum_improvement=0.0, learning_rate=rate
    )
    losses, fits = curve_of(seeds, 7, learning_rate=rate)
    assert np.all(np.diff(losses[:7], axis=0) < 0), "the curve must fall for this test to mean anything"
    assert improving.epochs.tolist() == [7, 7, 7]
    for place in range(len(seeds)):
        assert torch.equal(improving.parameters[place], fits[6].parameters[place])

    rate = 2e-2
    losses, _ = curve_of(seeds, 30, learning_rate=rate)
    stopped = fit_block(
        seeds, max_epochs=30, patience=2, learning_rate=rate, early_stopping="inverted", minimum_improvement=0.0
    )
    for place in range(len(seeds)):
        highest, since = -np.inf, 0
        ends = len(losses)
        for epoch, loss in enumerate(losses[:, place], start=1):
            highest, since = (loss, 0) if loss > highest else (highest, since + 1)
            if since > 2:
                ends = epoch
                break
        assert stopped.epochs[place] == ends


def test_inverted_stopping_averages_batches_not_rows() -> None:
    layout = layout_of("gaussian")
    data = block_of((0,), validation=37)
    settings = dataclasses.replace(SETTINGS, max_epochs=1, dropout=0.0)
    start = initial_parameters(layout, (0,))
    by_rows = fit(start, layout, data, (0,), (0,), settings)
    by_batches = fit(start, layout, data, (0,), (0,), dataclasses.replace(settings, early_stopping="inverted"))
    assert torch.equal(by_rows.parameters, by_batches.parameters)
    features, _ = aligned_stack(1, 37, 5)
    features.copy_(torch.from_numpy(data.validation_features))
    losses = StackedNetwork(layout, 1, 37).losses(
        StackedWeights(layout, by_rows.parameters.clone()), features, data.validation_targets
    )[0]
    assert by_rows.validation_nll[0] == pytest.approx(losses.mean(), abs=1e-6)
    batches = [losses[:16].mean(), losses[16:32].mean(), losses[32:].mean()]
    assert by_batches.validation_nll[0] == pytest.approx(np.mean(batches), abs=1e-6)
    assert abs(np.mean(batches) - losses.mean()) > 1e-4


def test_kept_moments_continue_each_seed_where_it_stopped() -> None:
    seeds = (0, 1, 2)
    layout = layout_of("spline_flow")
    settings = dataclasses.replace(SETTINGS, learning_rate=2e-2)
    first = fit_block(seeds, learning_rate=2e-2)
    steps = 50 // SETTINGS.batch_size
    assert first.moments.steps.tolist() == (steps * first.epochs).tolist()
    assert len(set(first.epochs.tolist())) > 1
    together = fit(first.parameters, layout, block_of(seeds), seeds, (1,), settings, first.moments)
    alone = fit(first.parameters[2:], layout, block_of((2,)), (2,), (1,), settings, first.moments.of(np.array([2])))
    assert torch.equal(together.parameters[2], alone.parameters[0])
    assert together.moments.steps.tolist() == (steps * (first.epochs + together.epochs)).tolist()
    fresh = fit(first.parameters, layout, block_of(seeds), seeds, (1,), settings)
    assert not torch.equal(together.parameters, fresh.parameters)


def test_shared_batches_are_the_same_for_all_seeds() -> None:
    layout = layout_of("gaussian")
    data = block_of((0,)).repeated(2)
    start = initial_parameters(layout, (0,)).repeat(2, 1)
    settings = dataclasses.replace(SETTINGS, dropout=0.0)
    shared = fit(start, layout, data, (0, 1), (0,), dataclasses.replace(settings, shared_batches=True))
    own = fit(start, layout, data, (0, 1), (0,), settings)
    assert torch.equal(shared.parameters[0], shared.parameters[1])
    assert not torch.equal(own.parameters[0], own.parameters[1])


def test_fit_is_no_worse_than_ordinary_least_squares_on_its_own_data() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 2)).astype(np.float32)
    y = (0.7 * x[:, 0] - 0.4 * x[:, 1] + 0.1 + 0.3 * rng.standard_normal(256)).astype(np.float32)
    layout = network_layout(
        2, architecture="gaussian", hidden=(16,), head_hidden=(), bins=8, transforms=2, rectified=False
    )
    data = LabelledBlock(x[None], y[None], x[None], y[None], np.array([256]))
    settings = dataclasses.replace(SETTINGS, dropout=0.0, weight_decay=0.0, batch_size=256, max_epochs=300, patience=99)
    result = fit(initial_parameters(layout, (0,)), layout, data, (0,), (0,), settings)
    design = np.column_stack([x, np.ones(256)]).astype(float)
    coefficients, *_ = np.linalg.lstsq(design, y.astype(float), rcond=None)
    variance = np.mean((y - design @ coefficients) ** 2)
    least_squares = 0.5 * np.log(2 * np.pi * variance) + 0.5
    assert least_squares - 0.2 < result.validation_nll[0] < least_squares + 0.005


def test_first_step_on_few_rows_equals_torch() -> None:
    """Nine rows with a batch size of 16 make one step of nine."""
    layout = network_layout(
        3, architecture="gaussian", hidden=(6,), head_hidden=(), bins=8, transforms=2, rectified=True
    )
    settings = dataclasses.replace(SETTINGS, dropout=0.0, max_epochs=1, weight_decay=0.0)
    data = block_of((0,), 9, 3, 5)
    start = initial_parameters(layout, (0,))
    result = fit(start, layout, data, (0,), (0,), settings)

    parameters = {k: v[0].double().clone().requires_grad_() for k, v in layout.views(start).items()}
    optimiser = torch.optim.NAdam(parameters.values(), lr=settings.learning_rate)
    hidden = torch.relu(
        torch.from_numpy(data.features[0]).double() @ parameters["encoder.0.weight"] + parameters["encoder.0.bias"]
    )
    raw = hidden @ parameters["gaussian.0.weight"] + parameters["gaussian.0.bias"]
    deviation = nn.functional.softplus(raw[:, 1]) + 1e-3
    targets = torch.from_numpy(data.targets[0]).double()
    (-torch.distributions.Normal(raw[:, 0], deviation).log_prob(targets).mean()).backward()
    optimiser.step()
    for name, view in layout.views(result.parameters).items():
        np.testing.assert_allclose(view[0].numpy(), parameters[name].detach().numpy(), atol=2e-6)


@pytest.mark.parametrize("architecture", ["spline_flow", "gaussian"])
def test_network_with_its_own_values_equals_a_fit_with_these_values_alone(architecture: str) -> None:
    """Four networks on three seeds, one seed twice: each has its own learning rate, weight decay and dropout."""
    values = [(1e-2, 0.0, 0.0), (3e-3, 1e-2, 0.3), (1e-3, 1e-4, 0.05), (2e-2, 1e-3, 0.1)]
    seeds = (2, 0, 2, 1)
    layout = layout_of(architecture)
    learning_rate, weight_decay, dropout = np.array(values).T
    settings = dataclasses.replace(
        SETTINGS, learning_rate=learning_rate, weight_decay=weight_decay, dropout=dropout, max_epochs=30
    )
    together = fit(initial_parameters(layout, seeds), layout, block_of(seeds), seeds, (0,), settings)
    assert len(set(together.epochs.tolist())) > 1, "networks must stop at different epochs for this test to mean much"
    assert not torch.equal(together.parameters[0], together.parameters[2])
    for place, (seed, own) in enumerate(zip(seeds, values, strict=True)):
        names = ("learning_rate", "weight_decay", "dropout")
        alone = fit_block((seed,), architecture, max_epochs=30, **dict(zip(names, own, strict=True)))
        assert torch.equal(alone.parameters[0], together.parameters[place])
        assert alone.validation_nll[0] == together.validation_nll[place]
        assert alone.epochs[0] == together.epochs[place]
        assert np.array_equal(alone.moments.mean[0], together.moments.mean[place])


def test_diverged_seed_leaves_the_stack_if_asked_to() -> None:
    layout = layout_of("gaussian")
    seeds = (7, 8, 9)
    settings = dataclasses.replace(SETTINGS, divergence="stop")
    data = block_of(seeds)
    clean = fit(initial_parameters(layout, seeds), layout, data, seeds, (2,), settings)
    data.validation_targets[1, 3] = np.nan
    result = fit(initial_parameters(layout, seeds), layout, data, seeds, (2,), settings)
    assert np.isnan(result.validation_nll[1])
    assert result.epochs[1] == 1
    for place in (0, 2):
        assert torch.equal(result.parameters[place], clean.parameters[place])
        assert result.validation_nll[place] == clean.validation_nll[place]


def test_diverged_seed_is_named() -> None:
    layout = layout_of("gaussian")
    seeds = (7, 8)
    data = block_of(seeds)
    data.validation_targets[1, 3] = np.nan
    with pytest.raises(NumericalError, match="seed 8, round 2, epoch 1"):
        fit(initial_parameters(layout, seeds), layout, data, seeds, (2,), SETTINGS)


def test_starting_weights_of_each_warm_start() -> None:
    layout = layout_of("gaussian")
    last = torch.ones(2, layout.size)
    initial = initial_parameters(layout, (3, 4))
    assert torch.equal(starting_parameters(layout, (3, 4), (5,), last, "scratch"), initial)
    assert torch.equal(starting_parameters(layout, (3, 4), (0,), None, "continue"), initial)
    continued = starting_parameters(layout, (3, 4), (5,), last, "continue")
    assert torch.equal(continued, last)
    assert continued.data_ptr() != last.data_ptr()
    perturbed = starting_parameters(layout, (3, 4), (5,), last, "shrink_perturb")
    assert float(perturbed.mean()) == pytest.approx(0.6, abs=1e-3)
    assert float(perturbed.std()) == pytest.approx(0.01, rel=0.05)
    alone = starting_parameters(layout, (4,), (5,), last[:1], "shrink_perturb")
    assert torch.equal(alone[0], perturbed[1])
