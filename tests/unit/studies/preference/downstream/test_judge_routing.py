import itertools

import numpy as np
import pytest

from bayesgrid.errors import ConfigurationError, DataError
from bayesgrid.studies.preference.downstream.judge_routing import routing_cost, routing_curve


def test_ideal_order_of_a_perfect_judge_has_the_closed_form():
    right = np.r_[np.zeros(3), np.ones(7)]
    curve = routing_curve(1 - right, right)
    error = 0.3
    np.testing.assert_allclose(curve.accuracy, np.minimum(1 - error + curve.share, 1))
    np.testing.assert_allclose(curve.accuracy, curve.ideal)
    np.testing.assert_allclose(curve.random, 1 - error + error * curve.share)
    assert curve.area == pytest.approx(1 - error**2 / 2)
    assert curve.area_over_random == pytest.approx(error * (1 - error) / 2)
    assert curve.share_of_ideal == pytest.approx(1)


def test_most_certain_pairs_first_is_as_bad_as_the_ideal_order_is_good():
    right = np.r_[np.zeros(4), np.ones(6)]
    # Errors come last: accuracy stays until only errors are left, the mirror image of the ideal order.
    assert routing_curve(right, right).share_of_ideal == pytest.approx(-1)


def test_equally_uncertain_pairs_are_taken_in_random_order():
    doubts, right = np.array([2.0, 1, 1, 1, 0]), np.array([1.0, 0, 1, 0, 1])
    curve = routing_curve(doubts, right)
    orders = [np.r_[0, list(middle), 4] for middle in itertools.permutations((1, 2, 3))]
    by_hand = [[np.mean(np.where(np.isin(np.arange(5), order[:k]), 1.0, right)) for k in range(6)] for order in orders]
    np.testing.assert_allclose(curve.accuracy, np.mean(by_hand, axis=0))
    assert routing_curve(np.zeros(5), right).area_over_random == pytest.approx(0)


def test_judge_who_errs_is_best_asked_where_the_model_errs_more():
    model, judge = np.array([0.0, 0.5, 1.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.0])
    curve = routing_curve([0, 1, 2, 3], model, judge)
    np.testing.assert_allclose(curve.accuracy, np.array([2.5, 1.5, 1.5, 2.0, 3.0]) / 4)
    np.testing.assert_allclose(curve.ideal, np.array([2.5, 3.5, 4.0, 4.0, 3.0]) / 4)
    assert (curve.ideal >= curve.accuracy).all()
    assert curve.share_of_ideal < 0
    assert np.isnan(routing_curve([0, 1], [1, 1]).share_of_ideal)


def test_cost_of_an_accuracy_along_each_order():
    right = np.r_[np.zeros(3), np.ones(7)]
    curve = routing_curve(1 - right, right)
    # Accuracy 0.85 needs half of the errors, or a random half of all pairs.
    ideal = routing_cost(curve.share, curve.ideal, 0.85, judge_cost=10.0, model_cost=0.1)
    assert (ideal.share, ideal.cost) == pytest.approx((0.15, 1.6))
    assert routing_cost(curve.share, curve.random, 0.85, judge_cost=10.0).share == pytest.approx(0.5)
    assert routing_cost(curve.share, curve.accuracy, 0.7, judge_cost=10.0).share == 0
    assert routing_cost(curve.share, curve.accuracy, 1.0, judge_cost=1.0).share == pytest.approx(0.3)
    erring = routing_curve(1 - right, right, np.full(10, 0.8))
    assert routing_cost(erring.share, erring.accuracy, 0.95, judge_cost=1.0) is None


def test_wrong_arrays_are_refused():
    with pytest.raises(DataError, match="different shapes"):
        routing_curve([0, 1], [1, 1, 0])
    with pytest.raises(DataError, match="how right"):
        routing_curve([0, 1], [1, 2])
    with pytest.raises(ConfigurationError, match="not an accuracy"):
        routing_cost([0, 1], [0.5, 1], 1.2, judge_cost=1)
    with pytest.raises(DataError, match="not shares"):
        routing_cost([0.5, 1], [0.5, 1], 0.9, judge_cost=1)
