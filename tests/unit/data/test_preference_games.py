from itertools import combinations
from math import comb

import numpy as np
import pytest

from bayesgrid.data.preference_games import allocations, game_pairs, lifted_features, play
from bayesgrid.errors import ConfigurationError
from bayesgrid.grid.parameters import validate_parameters
from bayesgrid.grid.preference_sets import GameParameters

GAMES = {
    "blotto": {"name": "blotto", "soldiers": 5, "fields": 3},
    "rock_paper_scissors": {"name": "rock_paper_scissors", "items": 9},
    "disc": {"name": "disc", "items": 20},
    "elo_cycle": {"name": "elo_cycle", "items": 20},
    "dominant_cycle": {"name": "dominant_cycle", "items": 10},
}


def parameters(game, **values):
    return validate_parameters(GameParameters, {"game": game, **values}, where="test")


def cyclic_triads(payoff):
    """Count, one by one, the triples in which everyone beats one of the others."""
    wins = payoff > 0
    return sum(
        (wins[a, b] and wins[b, c] and wins[c, a]) or (wins[b, a] and wins[c, b] and wins[a, c])
        for a, b, c in combinations(range(len(payoff)), 3)
    )


def cyclic_triads_from_wins(payoff):
    """Return the number of cyclic triples of a tournament: all triples less those that one item wins twice."""
    wins = (payoff > 0).sum(axis=1)
    return comb(len(payoff), 3) - sum(comb(int(won), 2) for won in wins)


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES)
def test_payoffs_are_skew_symmetric_and_items_differ(game):
    played = play(parameters(game).game, 3)
    np.testing.assert_array_equal(played.payoff, -played.payoff.T)
    assert len(set(played.names)) == len(played.names) == len(played.payoff) == len(played.coordinates)


@pytest.mark.parametrize(("soldiers", "fields"), [(5, 3), (10, 5), (3, 1), (1, 4)])
def test_blotto_has_as_many_strategies_as_compositions(soldiers, fields):
    found = list(allocations(soldiers, fields))
    assert len(set(found)) == len(found) == comb(soldiers + fields - 1, fields - 1)
    assert all(sum(one) == soldiers and min(one) >= 0 for one in found)


def test_blotto_is_won_by_who_wins_more_fields():
    played = play(parameters(GAMES["blotto"]).game, 0)
    place = {name: number for number, name in enumerate(played.names)}
    # Worked by hand: (field for field) 3 > 2, 2 < 3, 0 = 0; 2 > 0, 2 > 0, 1 < 5; 0 < 2, 1 < 2, 4 > 1.
    for one, other, payoff in [("3 2 0", "2 3 0", 0), ("2 2 1", "0 0 5", 1), ("0 1 4", "2 2 1", -1)]:
        assert played.payoff[place[one], place[other]] == payoff


def test_three_items_are_rock_paper_and_scissors():
    played = play(parameters({"name": "rock_paper_scissors", "items": 3}).game, 0)
    np.testing.assert_array_equal(played.payoff, [[0, -1, 1], [1, 0, -1], [-1, 1, 0]])


@pytest.mark.parametrize("items", [3, 9, 15])
def test_rock_paper_scissors_has_the_most_cycles_a_tournament_can_have(items):
    payoff = play(parameters({"name": "rock_paper_scissors", "items": items}).game, 0).payoff
    assert cyclic_triads(payoff) == items * (items**2 - 1) // 24


def test_one_item_beats_the_cycle_of_the_others():
    payoff = play(parameters(GAMES["dominant_cycle"]).game, 0).payoff
    assert (payoff[0, 1:] == 1).all()
    assert cyclic_triads(payoff) == cyclic_triads(payoff[1:, 1:]) == 9 * (9**2 - 1) // 24


def test_cycles_come_from_the_cyclic_part_alone():
    rated = play(parameters({**GAMES["elo_cycle"], "cyclic": 0.0}).game, 1).payoff
    np.testing.assert_allclose(rated[:, :, None] + rated[None], rated[:, None, :] + np.zeros((20, 20, 20)), atol=1e-12)
    assert cyclic_triads(rated) == 0
    circling = play(parameters({**GAMES["elo_cycle"], "cyclic": 4.0}).game, 1).payoff
    assert cyclic_triads(circling) == cyclic_triads_from_wins(circling) > 0
    disc = play(parameters(GAMES["disc"]).game, 1).payoff
    # A quarter of the triples of points around a circle are cyclic, in the mean.
    assert 0.1 < cyclic_triads(disc) / comb(20, 3) < 0.4


def test_disc_payoff_is_the_signed_area_between_points_of_the_unit_disc():
    played = play(parameters({"name": "disc", "items": 400}).game, 5)
    radius = np.hypot(*played.coordinates.T)
    angle = np.arctan2(*played.coordinates.T[::-1])
    expected = radius[:, None] * radius * np.sin(angle[None, :] - angle[:, None])
    np.testing.assert_allclose(played.payoff, expected, atol=1e-12)
    # Uniform over the area: the mean squared radius is 1/2, with a deviation of 0.29 / 20.
    assert abs((radius**2).mean() - 0.5) < 0.06
    assert radius.max() <= 1


def test_pairs_have_the_probability_of_the_payoff():
    pairs = game_pairs(parameters(GAMES["elo_cycle"], temperature=0.5, seed=4))
    payoff = play(parameters(GAMES["elo_cycle"]).game, 4).payoff
    assert pairs.count == comb(20, 2)
    np.testing.assert_allclose(pairs.probability, 1 / (1 + np.exp(-2 * payoff[pairs.first, pairs.second])))
    assert not pairs.votes.any()
    assert pairs.item_features.shape == (20, 16)


def test_votes_are_drawn_from_the_probability_by_the_seed():
    exact = game_pairs(parameters(GAMES["disc"], temperature=0.5))
    drawn = game_pairs(parameters(GAMES["disc"], temperature=0.5, votes=400))
    again = game_pairs(parameters(GAMES["disc"], temperature=0.5, votes=400))
    np.testing.assert_array_equal(drawn.votes, again.votes)
    np.testing.assert_array_equal(drawn.votes.sum(axis=1), 400)
    deviation = (drawn.probability - exact.probability) / np.sqrt(exact.probability * (1 - exact.probability) / 400)
    assert 0.8 < deviation.std() < 1.2
    other = game_pairs(parameters(GAMES["disc"], temperature=0.5, votes=400, seed=1))
    assert (other.votes != drawn.votes).any()


@pytest.mark.parametrize("name", ["disc", "elo_cycle", "rock_paper_scissors"])
def test_a_skew_form_of_linear_features_knows_items_it_has_not_seen(name):
    played = play(parameters({**GAMES[name], "items": 31}).game, 2)
    features = lifted_features(played.coordinates, parameters(GAMES[name])).astype(np.float64)
    features = np.concatenate([np.ones((31, 1)), features], axis=1)
    upper = np.triu_indices(features.shape[1], k=1)

    def skew(items):
        products = np.einsum("ia,jb->ijab", features[items], features[items])
        return (products - products.swapaxes(2, 3))[..., upper[0], upper[1]]

    seen, unseen = np.arange(20), np.arange(20, 31)
    target = played.payoff
    if name == "rock_paper_scissors":
        angle = 2 * np.pi * np.arange(31) / 31
        target = np.sin(angle[:, None] - angle)
    weights, *_ = np.linalg.lstsq(skew(seen).reshape(400, -1), target[:20, :20].ravel(), rcond=1e-6)
    np.testing.assert_allclose(skew(unseen) @ weights, target[20:, 20:], atol=1e-3)
    decided = np.abs(target[20:, 20:]) > 1e-3
    predicted = np.sign(skew(unseen) @ weights)
    np.testing.assert_array_equal(predicted[decided], np.sign(played.payoff[20:, 20:])[decided])


def test_a_network_lifts_the_same_items_to_features_of_higher_rank():
    coordinates = play(parameters(GAMES["disc"]).game, 0).coordinates
    linear = lifted_features(coordinates, parameters(GAMES["disc"], lift="linear"))
    bent = lifted_features(coordinates, parameters(GAMES["disc"], lift="mlp", features=12))
    assert linear.dtype == np.float32
    assert np.linalg.matrix_rank(linear, tol=1e-3) == 2 < np.linalg.matrix_rank(bent, tol=1e-3)
    assert bent.shape == (20, 12)


@pytest.mark.parametrize(
    ("game", "words"),
    [
        ({"name": "rock_paper_scissors", "items": 4}, "must be odd"),
        ({"name": "dominant_cycle", "items": 5}, "must be even"),
        ({"name": "disc", "items": 2}, "game"),
        ({"name": "chess", "items": 9}, "chess"),
        ({"name": "disc", "items": 9, "cyclic": 1.0}, "cyclic"),
    ],
)
def test_games_that_do_not_exist_are_refused(game, words):
    with pytest.raises(ConfigurationError, match=words):
        parameters(game)
