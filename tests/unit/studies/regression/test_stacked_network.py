import numpy as np
import pytest
import torch
import zuko
from torch import Tensor, nn

from bayesgrid.studies.regression.models.layout import (
    ParameterLayout,
    aligned_stack,
    initial_parameters,
    network_layout,
)
from bayesgrid.studies.regression.models.spline_flow import spline_losses
from bayesgrid.studies.regression.models.stacked_network import StackedNetwork, StackedWeights

FEATURES = 7


def layout_of(architecture: str, rectified: bool = True, features: int = FEATURES) -> ParameterLayout:
    return network_layout(
        features,
        architecture=architecture,
        hidden=(8, 6, 10),
        head_hidden=(12, 9),
        bins=8,
        transforms=2,
        rectified=rectified,
    )


def autograd_losses(
    layout: ParameterLayout,
    parameters: dict[str, Tensor],
    features: Tensor,
    targets: Tensor,
    masks: list[Tensor] | None,
) -> Tensor:
    """The same network from torch.nn.functional and zuko's spline, in float64, for one seed."""
    hidden = features
    for i, layer in enumerate(layout.encoder):
        hidden = hidden @ parameters[f"{layer.name}.weight"] + parameters[f"{layer.name}.bias"]
        if layout.rectified:
            hidden = torch.relu(hidden)
        if masks is not None and i > 0:
            hidden = hidden * masks[i - 1]
    raw = []
    for head in layout.heads:
        values = torch.relu(hidden) if layout.architecture == "gaussian" else hidden
        for i, layer in enumerate(head):
            values = values @ parameters[f"{layer.name}.weight"] + parameters[f"{layer.name}.bias"]
            if i + 1 < len(head):
                values = torch.relu(values)
        raw.append(values)
    if layout.architecture == "gaussian":
        deviation = nn.functional.softplus(raw[0][:, 1]) + 1e-3
        return -torch.distributions.Normal(raw[0][:, 0], deviation).log_prob(targets)
    splines = [zuko.transforms.MonotonicRQSTransform(values[:, :8], values[:, 8:16], values[:, 16:]) for values in raw]
    middle, log_first = splines[0].call_and_ladj(targets)
    image, log_second = splines[1].call_and_ladj(middle)
    return -torch.distributions.Normal(0.0, 1.0).log_prob(image) - log_first - log_second


@pytest.mark.parametrize("dropout", [0.0, 0.3, np.array([0.3, 0.0, 0.05])], ids=["none", "equal", "own"])
@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("architecture", ["spline_flow", "gaussian"])
def test_losses_and_gradients_equal_autograd_through_zuko(
    architecture: str, rectified: bool, dropout: float | np.ndarray
) -> None:
    rng = np.random.default_rng(3)
    layout = layout_of(architecture, rectified)
    stack, rows = 3, 21
    flat = initial_parameters(layout, (4, 5, 6))
    features, _ = aligned_stack(stack, rows, FEATURES)
    features.copy_(torch.from_numpy(rng.standard_normal((stack, rows, FEATURES)).astype(np.float32)))
    targets = (2.5 * rng.standard_normal((stack, rows))).astype(np.float32)
    targets[0, :4] = [-7.0, 7.0, 4.99, -4.99]
    widths = [layer.outputs for layer in layout.encoder[1:]]
    bits = [rng.integers(0, 65536, (stack, rows * width), dtype=np.uint16) for width in widths]
    gradient = torch.zeros_like(flat)
    network = StackedNetwork(layout, stack, rows, dropout=dropout)
    weights, gradients = StackedWeights(layout, flat), StackedWeights(layout, gradient)
    losses = network.losses(weights, features, targets, bits, gradients)

    for seed in range(stack):
        parameters = {name: view[seed].double().requires_grad_() for name, view in layout.views(flat).items()}
        own = float(np.broadcast_to(dropout, stack)[seed])
        masks = [
            torch.from_numpy((drawn[seed].reshape(rows, width) >= round(own * 65536)) / (1 - own))
            for drawn, width in zip(bits, widths, strict=True)
        ]
        expected = autograd_losses(
            layout, parameters, features[seed].double(), torch.from_numpy(targets[seed]).double(), masks
        )
        np.testing.assert_allclose(losses[seed], expected.detach().numpy(), atol=1e-5, rtol=1e-5)
        expected.mean().backward()
        for name, view in layout.views(gradient).items():
            exact = parameters[name].grad.numpy()
            np.testing.assert_allclose(view[seed].numpy(), exact, atol=2e-6 + 2e-5 * np.abs(exact).max())


def test_spline_losses_and_gradients_equal_zuko_at_random_parameters() -> None:
    rng = np.random.default_rng(0)
    rows, bins = 500, 8
    raw = [(4 * rng.standard_normal((1, rows * (3 * bins - 1)))).astype(np.float32) for _ in range(2)]
    targets = (2.5 * rng.standard_normal((1, rows))).astype(np.float32)
    losses = np.zeros((1, rows), dtype=np.float32)
    gradients = [np.zeros_like(values) for values in raw]
    spline_losses(raw[0], raw[1], targets, bins, losses, gradients[0], gradients[1], True)

    exact = [torch.from_numpy(values.reshape(rows, -1)).double().requires_grad_() for values in raw]
    splines = [
        zuko.transforms.MonotonicRQSTransform(values[:, :8], values[:, 8:16], values[:, 16:]) for values in exact
    ]
    middle, log_first = splines[0].call_and_ladj(torch.from_numpy(targets[0]).double())
    image, log_second = splines[1].call_and_ladj(middle)
    expected = -torch.distributions.Normal(0.0, 1.0).log_prob(image) - log_first - log_second
    np.testing.assert_allclose(losses[0], expected.detach().numpy(), atol=1e-6, rtol=1e-6)
    expected.mean().backward()
    for ours, reference in zip(gradients, exact, strict=True):
        np.testing.assert_allclose(ours.reshape(rows, -1), reference.grad.numpy(), atol=1e-7)


def test_log_density_equals_zuko_neural_spline_flow() -> None:
    layout = layout_of("spline_flow")
    flat = initial_parameters(layout, (11,))
    parameters = {name: view[0] for name, view in layout.views(flat).items()}
    flow = zuko.flows.NSF(1, layout.encoder[-1].outputs, transforms=2, bins=8, hidden_features=(12, 9)).double()
    for transform, head in zip(flow.transform.transforms, layout.heads, strict=True):
        linear = [module for module in transform.hyper if hasattr(module, "weight")]
        for module, layer in zip(linear, head, strict=True):
            module.weight.data = parameters[f"{layer.name}.weight"].T.double().clone()
            module.bias.data = parameters[f"{layer.name}.bias"].double().clone()
    rng = np.random.default_rng(0)
    features, _ = aligned_stack(1, 50, FEATURES)
    features.copy_(torch.from_numpy(rng.standard_normal((1, 50, FEATURES)).astype(np.float32)))
    targets = (2 * rng.standard_normal((1, 50))).astype(np.float32)
    losses = StackedNetwork(layout, 1, 50).losses(StackedWeights(layout, flat), features, targets)

    hidden = features[0].double()
    for layer in layout.encoder:
        hidden = torch.relu(
            hidden @ parameters[f"{layer.name}.weight"].double() + parameters[f"{layer.name}.bias"].double()
        )
    expected = flow(hidden).log_prob(torch.from_numpy(targets[0]).double()[:, None]).detach().numpy()
    np.testing.assert_allclose(-losses[0], expected, atol=1e-5)


def test_padding_between_matrices_stays_zero() -> None:
    layout = layout_of("spline_flow", features=5)
    flat = initial_parameters(layout, (0, 1))
    used = sum(view[0].numel() for view in layout.views(flat).values())
    assert used < layout.size
    assert int((flat[0] != 0).sum()) <= used
    assert all(offset % 16 == 0 for layer in layout.layers() for offset in (layer.weight_offset, layer.bias_offset))
