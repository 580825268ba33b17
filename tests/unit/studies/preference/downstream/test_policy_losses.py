import numpy as np
import pytest
import torch
from scipy import optimize

from bayesgrid.errors import ConfigurationError
from bayesgrid.studies.preference.downstream.policy_losses import (
    against_policy,
    extreme_responses,
    gpo_loss,
    gpo_target,
    length_normalised_gpo_loss,
    log_partition,
    preference_probabilities,
    reference_preference_probabilities,
    reference_score_target,
    sppo_loss,
    sppo_target,
    squared_error,
)

ITEMS = 5


def situation(seed=0):
    """Scores and a policy of a game with circles."""
    rng = np.random.default_rng(seed)
    upper = torch.from_numpy(np.triu(rng.standard_normal((ITEMS, ITEMS)), 1))
    return upper - upper.mT, torch.log_softmax(torch.from_numpy(rng.standard_normal(ITEMS)), 0)


def minimised(loss, start):
    """Where a loss of a tensor has its minimum, from its own gradients."""

    def value(flat):
        point = torch.from_numpy(flat.copy()).requires_grad_()
        found = loss(point)
        torch.autograd.backward(found)
        return found.item(), point.grad.numpy()

    found = optimize.minimize(value, start.numpy(), jac=True, method="BFGS", options={"gtol": 1e-11})
    return torch.from_numpy(found.x), found.fun


def multiplied(log_policy, target):
    weights = log_policy.exp() * target.exp()
    return weights / weights.sum()


def test_minimum_of_sppo_over_free_weights_is_a_step_of_multiplicative_weights():
    scores, log_policy = situation()
    policy = log_policy.exp()
    win_rate = against_policy(preference_probabilities(scores), policy)
    log_weights, least = minimised(
        lambda point: sppo_loss(point - log_policy, win_rate, eta=2.0, weights=policy), torch.zeros(ITEMS).double()
    )
    assert least == pytest.approx(0, abs=1e-15)
    torch.testing.assert_close(
        torch.softmax(log_weights, 0), multiplied(log_policy, 2.0 * (win_rate - 0.5)), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("name", ["sppo", "gpo"])
def test_minimum_over_policies_is_that_step_once_the_partition_is_known(name):
    scores, log_policy = situation(1)
    policy = log_policy.exp()
    if name == "sppo":
        target = sppo_target(against_policy(preference_probabilities(scores), policy), eta=1.5)
    else:
        target = gpo_target(against_policy(scores, policy), beta=0.8)
    exact = target - log_partition(target, log_policy)

    def loss(point):
        return squared_error(torch.log_softmax(point, 0) - log_policy, exact, policy)

    logits, least = minimised(loss, torch.zeros(ITEMS).double())
    assert least == pytest.approx(0, abs=1e-15)
    torch.testing.assert_close(torch.softmax(logits, 0), multiplied(log_policy, target), rtol=0, atol=1e-6)


def test_partition_taken_as_one_costs_the_square_of_the_step():
    scores, log_policy = situation(2)
    policy = log_policy.exp()
    win_rate = against_policy(preference_probabilities(scores), policy)
    error = []
    for eta in (0.2, 0.1):
        target = sppo_target(win_rate, eta=eta)
        assert (policy * target).sum().item() == pytest.approx(0, abs=1e-12)
        half_variance = (policy * target.square()).sum() / 2
        assert log_partition(target, log_policy).item() == pytest.approx(half_variance.item(), rel=0.05)
        logits, _ = minimised(
            lambda point, eta=eta: sppo_loss(
                torch.log_softmax(point, 0) - log_policy, win_rate, eta=eta, weights=policy
            ),
            torch.zeros(ITEMS).double(),
        )
        error.append((torch.softmax(logits, 0) - multiplied(log_policy, target)).abs().max().item())
    assert error[1] < error[0] / 4
    assert error[1] < 1e-4


def test_losses_of_two_responses_by_hand():
    log_ratio, win_rate = torch.tensor([0.3, -0.2]), torch.tensor([0.9, 0.1])
    expected = 0.5 * ((0.3 - 2 * 0.4) ** 2 + (-0.2 + 2 * 0.4) ** 2)
    assert sppo_loss(log_ratio, win_rate, eta=2.0).item() == pytest.approx(expected)
    scores = torch.tensor([1.0, -3.0])
    expected = 0.5 * ((0.3 - 0.25) ** 2 + (-0.2 + 0.75) ** 2)
    assert gpo_loss(log_ratio, scores, beta=4.0).item() == pytest.approx(expected)
    lengths = torch.tensor([2, 5])
    expected = 0.5 * ((0.3 / 2 - 0.25) ** 2 + (-0.2 / 5 + 0.75) ** 2)
    assert length_normalised_gpo_loss(log_ratio, scores, lengths, beta=4.0).item() == pytest.approx(expected)
    plain = length_normalised_gpo_loss(log_ratio, scores, lengths, beta=4.0, gamma=0.0)
    assert plain.item() == pytest.approx(gpo_loss(log_ratio, scores, beta=4.0).item())


def test_responses_drawn_from_the_policy_have_the_expected_win_rate():
    scores, log_policy = situation(3)
    drawn = np.random.default_rng(0).choice(ITEMS, 4000, p=log_policy.exp().numpy())
    probability = preference_probabilities(scores)
    sampled = against_policy(probability[:, drawn])
    torch.testing.assert_close(sampled, against_policy(probability, log_policy.exp()), rtol=0, atol=0.02)


def test_reference_has_the_probabilities_of_half_the_temperature():
    scores, _ = situation()
    torch.testing.assert_close(reference_preference_probabilities(scores), preference_probabilities(scores / 0.5))
    # A narrow preference of 62 % becomes one of 73 %.
    narrow = torch.tensor([[0.0, 0.5], [-0.5, 0.0]])
    assert preference_probabilities(narrow)[0, 1].item() == pytest.approx(0.6225, abs=1e-4)
    assert reference_preference_probabilities(narrow)[0, 1].item() == pytest.approx(0.7311, abs=1e-4)


def test_reference_target_of_scores_is_doubled_and_pushes_all_down():
    scores, log_policy = situation()
    policy = log_policy.exp()
    right = gpo_target(against_policy(scores, policy), beta=0.5)
    wrong = reference_score_target(scores, policy, beta=0.5)
    torch.testing.assert_close(wrong, 2 * right - 0.5 / 0.5)
    assert (policy * right).sum().item() == pytest.approx(0, abs=1e-12)
    assert (policy * wrong).sum().item() == pytest.approx(-1)


def test_extreme_responses_are_best_and_worst_on_average():
    rewards = torch.tensor([0.2, 3.0, -1.0, 0.0])
    best, worst = extreme_responses((rewards[:, None] - rewards)[None])
    assert (best.item(), worst.item()) == (1, 2)


def test_no_gradient_goes_through_the_target():
    scores = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], requires_grad=True)
    log_ratio = torch.zeros(2, requires_grad=True)
    torch.autograd.backward(gpo_loss(log_ratio, against_policy(scores), beta=1.0))
    assert scores.grad is None
    assert log_ratio.grad is not None


def test_steps_without_size_are_refused():
    with pytest.raises(ConfigurationError, match="eta"):
        sppo_target(torch.zeros(2), eta=0.0)
    with pytest.raises(ConfigurationError, match="beta"):
        gpo_target(torch.zeros(2), beta=-1.0)
