"""The stacked optimiser against torch's own, slot by slot, also where slots take different numbers of steps."""

import torch
from torch import nn

from bayesgrid.adapters.slot_optimiser import SlotAdamW, clip_slot_gradients, descend


def _gradient(slot: int, step: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(100 * slot + step))


def test_ragged_slots_follow_torch_adamw() -> None:
    steps_of, rates_of = (3, 7, 5), (1e-2, 3e-3, 1e-1)
    stacked = nn.Parameter(torch.stack([_gradient(slot, 99, (2, 4)) for slot in range(3)]))
    alone = [nn.Parameter(stacked.detach()[slot].clone()) for slot in range(3)]
    optimiser = SlotAdamW({"all": [stacked]}, epsilon=1e-6, weight_decay=0.01)
    reference = [
        torch.optim.AdamW([parameter], lr=rate, eps=1e-6, weight_decay=0.01)
        for parameter, rate in zip(alone, rates_of, strict=True)
    ]
    for step in range(max(steps_of)):
        active = torch.tensor([step < steps for steps in steps_of])
        stacked.grad = torch.stack([_gradient(slot, step, (2, 4)) for slot in range(3)])
        optimiser.step({"all": torch.tensor(rates_of)}, active)
        for slot in range(3):
            if active[slot]:
                alone[slot].grad = _gradient(slot, step, (2, 4))
                reference[slot].step()
    for slot in range(3):
        torch.testing.assert_close(stacked[slot], alone[slot], atol=1e-6, rtol=1e-5)
    assert optimiser.steps.tolist() == list(steps_of)


def test_groups_have_rates_of_their_own() -> None:
    still, moving = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2, 3))
    optimiser = SlotAdamW({"still": [still], "moving": [moving]})
    still.grad, moving.grad = torch.ones(2, 3), torch.ones(2, 3)
    optimiser.step({"still": torch.zeros(2), "moving": torch.full((2,), 0.5)})
    assert torch.equal(still, torch.ones(2, 3))
    torch.testing.assert_close(moving.detach(), torch.full((2, 3), 0.5))  # Adam's first step has the length of the rate


def test_restored_state_continues_as_if_uninterrupted() -> None:
    def steps(optimiser: SlotAdamW, parameter: nn.Parameter, first: int, last: int) -> None:
        for step in range(first, last):
            parameter.grad = _gradient(0, step, (2, 3))
            optimiser.step({"all": torch.tensor([1e-2, 1e-3])})

    whole = nn.Parameter(torch.zeros(2, 3))
    uninterrupted = SlotAdamW({"all": [whole]})
    steps(uninterrupted, whole, 0, 6)

    parts = nn.Parameter(torch.zeros(2, 3))
    before = SlotAdamW({"all": [parts]})
    steps(before, parts, 0, 4)
    saved = {name: tensor.clone() for name, tensor in before.state().items()}
    after = SlotAdamW({"all": [parts]})
    after.restore(saved)
    steps(after, parts, 4, 6)
    assert torch.equal(parts, whole)


def test_clipping_scales_each_slot_by_its_own_joint_norm() -> None:
    first, second = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2, 1))
    first.grad, second.grad = torch.tensor([[3.0, 0.0], [0.3, 0.0]]), torch.tensor([[4.0], [0.4]])
    norms = clip_slot_gradients([first, second], 1.0)
    torch.testing.assert_close(norms, torch.tensor([5.0, 0.5]))
    torch.testing.assert_close(first.grad, torch.tensor([[0.6, 0.0], [0.3, 0.0]]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second.grad, torch.tensor([[0.8], [0.4]]), atol=1e-5, rtol=1e-5)


def test_descent_moves_each_slot_by_its_rate() -> None:
    parameter = nn.Parameter(torch.zeros(3, 2))
    parameter.grad = torch.ones(3, 2)
    descend([parameter], torch.tensor([0.1, 0.0, 0.2]))
    torch.testing.assert_close(parameter.detach(), -torch.tensor([[0.1] * 2, [0.0] * 2, [0.2] * 2]))
