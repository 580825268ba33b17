import numpy as np
import pandas as pd
import pytest

from bayesgrid.errors import StateError
from bayesgrid.reporting.agent_curves import AgentCurves, agent_curves, interval_over_seeds, paired_curves

VALUES = np.array([[3.0, 2.0, 1.0], [4.0, np.inf, 2.0], [6.0, 4.0, 3.0]])


@pytest.fixture
def curves():
    return AgentCurves((4, 7, 9), (10, 20, 40), {"nll": VALUES})


def rounds(values=VALUES):
    seed, position = (axis.ravel() for axis in np.indices(values.shape))
    frame = {"seed": np.array([4, 7, 9])[seed], "labelled": np.array([10, 20, 40])[position], "nll": values.ravel()}
    return pd.DataFrame(frame).sample(frac=1, random_state=0)


def test_rounds_in_any_order_become_seeds_by_rounds():
    found = agent_curves(rounds(), ["nll"], where="here", finite=False)
    assert (found.seeds, found.labelled) == ((4, 7, 9), (10, 20, 40))
    np.testing.assert_array_equal(found.by_metric["nll"], VALUES)


def test_values_that_are_not_finite_are_refused_unless_allowed():
    with pytest.raises(StateError, match="not finite at 20 labels of seed 7"):
        agent_curves(rounds(), ["nll"], where="here")


def test_seeds_with_other_rounds_are_refused():
    with pytest.raises(StateError, match="different numbers of labels"):
        agent_curves(rounds().iloc[1:], ["nll"], where="here", finite=False)


def test_a_seed_that_diverged_keeps_its_place(curves):
    # Trapezoids of 10 and 20 labels over 30 bought.
    wanted = [(2.5 * 10 + 1.5 * 20) / 30, np.nan, (5 * 10 + 3.5 * 20) / 30]
    np.testing.assert_allclose(curves.known_quantity("area", "nll"), wanted)
    np.testing.assert_allclose(curves.known_quantity("final", "nll"), [1.0, np.nan, 3.0])


def test_one_round_has_a_final_value_and_no_area():
    single = AgentCurves((1, 2), (10,), {"nll": np.array([[1.0], [2.0]])})
    assert np.isnan(single.known_quantity("area", "nll")).all()
    assert single.known_quantity("final", "nll").tolist() == [1.0, 2.0]


def test_pairs_have_the_seeds_of_both_in_one_order(curves):
    other = AgentCurves((9, 1, 4), (10, 20, 40), {"nll": np.array([[9.0] * 3, [1.0] * 3, [4.0] * 3])})
    first, second = paired_curves(curves, other)
    assert first.seeds == second.seeds == (4, 9)
    assert second.by_metric["nll"][:, 0].tolist() == [4.0, 9.0]
    assert paired_curves(curves, AgentCurves((1,), (10,), {"nll": np.ones((1, 1))})) is None


@pytest.mark.parametrize("values", [[1.0, np.nan], [np.inf, 1.0]])
def test_a_mean_that_is_not_known_has_no_interval(values):
    interval = interval_over_seeds(np.array(values))
    assert np.isnan([interval.estimate, interval.lower, interval.upper]).all()


def test_a_single_seed_has_a_mean_and_no_interval():
    interval = interval_over_seeds(np.array([2.0]))
    assert interval.estimate == 2.0
    assert np.isnan([interval.lower, interval.upper]).all()
