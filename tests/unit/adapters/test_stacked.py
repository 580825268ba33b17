"""Stacked adapters: every slot answers and learns as it would alone, whatever stands beside it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bayesgrid.adapters.low_rank import ANSWER_HEAD, AdapterWeights, LowRankPair
from bayesgrid.adapters.stacked import AdapterStack, StackedLora, find_linear_layers
from bayesgrid.errors import ConfigurationError, StateError


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(6, 5)
        self.v_proj = nn.Linear(5, 6, bias=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.v_proj(torch.tanh(self.q_proj(inputs)))


class _Decoder(nn.Module):
    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Block() for _ in range(blocks))
        self.visual = _Block()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            inputs = inputs + layer(inputs)
        return inputs


def _wrapped(slots: int, blocks: list[int] | None = None) -> tuple[_Decoder, AdapterStack]:
    torch.manual_seed(0)
    decoder = _Decoder().requires_grad_(False)
    stack, _ = AdapterStack.wrap(
        decoder, None, targets=["q_proj", "v_proj"], rank=2, scaling=1.5, slots=slots, blocks=blocks
    )
    return decoder, stack


def _randomise(stack: AdapterStack, slot: int, seed: int) -> AdapterWeights:
    generator = torch.Generator().manual_seed(seed)
    pairs = {
        path: LowRankPair(
            torch.randn(2, layer.in_features, generator=generator),
            torch.randn(layer.out_features, 2, generator=generator),
        )
        for path, layer in stack.layers.items()
    }
    weights = AdapterWeights(pairs, 1.5)
    stack.load(slot, weights)
    return weights


def test_layer_adds_the_scaled_product_of_its_slot() -> None:
    torch.manual_seed(1)
    base = nn.Linear(4, 3)
    layer = StackedLora(base, slots=2, rank=2, scaling=0.5)
    with torch.no_grad():
        layer.a.normal_()
        layer.b.normal_()
    inputs = torch.randn(6, 7, 4)
    outputs = layer(inputs)
    for row in range(6):
        slot = row // 3
        dense = base.weight + 0.5 * layer.b[slot] @ layer.a[slot]
        torch.testing.assert_close(outputs[row], inputs[row] @ dense.T + base.bias, atol=1e-6, rtol=1e-5)


def test_slots_answer_as_they_do_alone_and_have_the_gradients_they_have_alone() -> None:
    decoder, stack = _wrapped(3)
    weights = [_randomise(stack, slot, seed=slot) for slot in range(3)]
    inputs = torch.randn(3, 2, 4, 6)
    together = decoder(inputs.flatten(0, 1)).reshape(3, 2, 4, 6)
    together.square().sum().backward()
    for slot in range(3):
        alone_decoder, alone = _wrapped(1)
        alone.load(0, weights[slot])
        answered = alone_decoder(inputs[slot])
        torch.testing.assert_close(together[slot], answered, atol=1e-6, rtol=1e-6)
        answered.square().sum().backward()
        for path, layer in alone.layers.items():
            torch.testing.assert_close(stack.layers[path].a.grad[slot], layer.a.grad[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(stack.layers[path].b.grad[slot], layer.b.grad[0], atol=1e-5, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_blocks_of_rows_may_name_their_slots_in_any_order(chosen: list[int]) -> None:
    decoder, stack = _wrapped(4)
    for slot in range(4):
        _randomise(stack, slot, seed=slot)
    inputs = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(5))
    everything = decoder(inputs.repeat(4, 1, 1)).reshape(4, 2, 3, 6)
    with stack.using(torch.tensor(chosen)):
        mixed = decoder(inputs.repeat(len(chosen), 1, 1)).reshape(len(chosen), 2, 3, 6)
    torch.testing.assert_close(mixed, everything[chosen], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        decoder(inputs.repeat(4, 1, 1)).reshape(4, 2, 3, 6), everything
    )  # the mapping ends with the block


def test_unnamed_slots_get_no_gradient() -> None:
    decoder, stack = _wrapped(3)
    for slot in range(3):
        _randomise(stack, slot, seed=slot)
    with stack.using(torch.tensor([2])):
        decoder(torch.randn(2, 3, 6)).sum().backward()
    for layer in stack.layers.values():
        assert layer.a.grad[:2].abs().max() == 0
        assert layer.a.grad[2].abs().max() > 0


def test_reset_gives_the_usual_start_and_depends_on_the_seed_alone() -> None:
    decoder, stack = _wrapped(3)
    inputs = torch.randn(3, 2, 6)
    plain = decoder(inputs)
    stack.reset(0, seed=7)
    stack.reset(2, seed=7)
    stack.reset(1, seed=8)
    torch.testing.assert_close(decoder(inputs), plain)  # b is zero
    for layer in stack.layers.values():
        assert torch.equal(layer.a[0], layer.a[2])
        assert not torch.equal(layer.a[0], layer.a[1])
        assert layer.a.abs().max() <= layer.in_features**-0.5


def test_export_returns_what_was_loaded() -> None:
    _, stack = _wrapped(2)
    weights = _randomise(stack, 1, seed=3)
    exported = stack.export(1)
    assert exported.scaling == weights.scaling
    for path, pair in weights.pairs.items():
        assert torch.equal(exported.pairs[path].a, pair.a)
        assert torch.equal(exported.pairs[path].b, pair.b)
    assert exported.pairs["layers.0.q_proj"].a.data_ptr() != stack.layers["layers.0.q_proj"].a[1].data_ptr()


def test_only_chosen_blocks_are_adapted_and_never_what_sees() -> None:
    _, stack = _wrapped(1, blocks=[1, 2])
    assert set(stack.layers) == {f"layers.{n}.{name}" for n in (1, 2) for name in ("q_proj", "v_proj")}


def test_head_is_adapted_under_its_own_name() -> None:
    head = nn.Linear(6, 4, bias=False).requires_grad_(False)
    stack, adapted = AdapterStack.wrap(_Decoder(), head, targets=["q_proj"], rank=2, scaling=1.0, slots=2)
    assert adapted is stack.layers[ANSWER_HEAD]
    assert adapted(torch.randn(4, 6)).shape == (4, 4)


def test_unknown_target_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean 'q_proj'"):
        find_linear_layers(_Decoder(), ["q_poj"])


@pytest.mark.parametrize("fault", ["layers", "rank", "scaling"])
def test_adapter_that_does_not_fit_is_refused(fault: str) -> None:
    _, stack = _wrapped(1)
    weights = stack.export(0)
    pairs = dict(weights.pairs)
    if fault == "layers":
        pairs["layers.9.q_proj"] = pairs.pop("layers.0.q_proj")
    if fault == "rank":
        pairs["layers.0.q_proj"] = LowRankPair(torch.zeros(3, 6), torch.zeros(5, 3))
    with pytest.raises(StateError, match={"layers": "other layers", "rank": "another rank"}.get(fault, "scaling")):
        stack.load(0, AdapterWeights(pairs, 2.0 if fault == "scaling" else 1.5))


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_quantised_base_is_dequantised_once_for_all_slots_and_passes_gradients(kind: str) -> None:
    import bitsandbytes

    torch.manual_seed(0)
    weight = torch.randn(64, 128)
    if kind == "nf4":
        base = bitsandbytes.nn.Linear4bit(128, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
        base.weight = bitsandbytes.nn.Params4bit(weight.clone(), requires_grad=False, quant_type="nf4")
    else:
        base = bitsandbytes.nn.Linear8bitLt(128, 64, bias=False, has_fp16_weights=False)
        base.weight = bitsandbytes.nn.Int8Params(weight.clone(), requires_grad=False, has_fp16_weights=False)
    base = base.to("cpu")
    layer = StackedLora(base, slots=3, rank=4, scaling=2.0)
    with torch.no_grad():
        layer.a.normal_()
        layer.b.normal_()
    inputs = torch.randn(6, 5, 128, requires_grad=True)
    outputs = layer(inputs)
    frozen = base(inputs.detach())
    for row in range(6):
        slot = row // 2
        update = 2.0 * inputs[row] @ layer.a[slot].T @ layer.b[slot].T
        expected = frozen[row] + update
        torch.testing.assert_close(outputs[row], expected, atol=1e-3, rtol=1e-3)
    if kind == "nf4":
        dequantised = bitsandbytes.functional.dequantize_4bit(base.weight.data, base.weight.quant_state).float()
    else:
        # One scale per row: the largest entry is 127.
        dequantised = base.state.CB.float() * base.state.SCB[:, None] / 127
    assert 0 < float((dequantised - weight).norm() / weight.norm()) < 0.1
    ahead = torch.randn_like(outputs)
    outputs.backward(ahead)
    assert layer.a.grad is not None and layer.b.grad is not None and inputs.grad is not None
    # On the CPU both kernels multiply the dequantised weight in the type of the inputs, here float32.
    for slot in range(3):
        rows = slice(2 * slot, 2 * slot + 2)
        x, gradient = inputs.detach()[rows].flatten(0, 1), ahead[rows].flatten(0, 1)
        a, b = layer.a.detach()[slot], layer.b.detach()[slot]
        expected = (gradient @ dequantised + 2.0 * gradient @ b @ a).reshape(2, 5, 128)
        torch.testing.assert_close(inputs.grad[rows], expected, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(layer.a.grad[slot], 2.0 * b.T @ gradient.T @ x, atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(layer.b.grad[slot], 2.0 * gradient.T @ x @ a.T, atol=1e-3, rtol=1e-5)
