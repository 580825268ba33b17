import numpy as np
import pytest
from scipy.special import expit

from bayesgrid.errors import DataError
from bayesgrid.studies.preference.downstream.equilibrium import duality_gap, nash_policy

ROCK = np.array([[0.0, 1, -1], [-1, 0, 1], [1, -1, 0]])


def test_gap_is_what_the_best_answers_of_both_players_win():
    rng = np.random.default_rng(0)
    upper = np.triu(rng.standard_normal((5, 5)), 1)
    probability = expit(upper - upper.T)
    policies = rng.dirichlet(np.ones(5), 4)
    # The definition with both players, each free to play any mixture; a linear function is extreme at single items.
    as_first = (probability @ policies.T).max(axis=0)
    as_second = (policies @ probability).min(axis=1)
    np.testing.assert_allclose(duality_gap(policies, probability), as_first - as_second)


def test_gap_of_known_policies():
    probability = expit(ROCK)
    assert duality_gap(np.full(3, 1 / 3), probability) == pytest.approx(0)
    assert duality_gap([1.0, 0, 0], probability) == pytest.approx(2 * expit(1) - 1)


def test_equilibrium_of_rock_paper_scissors_with_unequal_stakes():
    # Its weights are the stakes of the pairs that each item is not in.
    stakes = np.array([[0, 3.0, -2.0], [-3.0, 0, 5.0], [2.0, -5.0, 0]])
    np.testing.assert_allclose(nash_policy(stakes), np.array([5, 2, 3]) / 10, atol=1e-9)


def test_equilibrium_is_the_winner_of_all_where_there_is_one():
    payoff = np.zeros((4, 4))
    payoff[0, 1:], payoff[1:, 0], payoff[1:, 1:] = 0.1, -0.1, ROCK
    np.testing.assert_allclose(nash_policy(payoff), [1, 0, 0, 0], atol=1e-9)
    assert duality_gap([1, 0, 0, 0], expit(payoff)) == pytest.approx(0)


def test_what_is_no_policy_or_game_is_refused():
    with pytest.raises(DataError, match="not a distribution"):
        duality_gap([0.5, 0.2, 0.2], expit(ROCK))
    with pytest.raises(DataError, match="other items"):
        duality_gap([0.5, 0.5], expit(ROCK))
    with pytest.raises(DataError, match="not a symmetric game"):
        nash_policy(np.ones((2, 2)))
