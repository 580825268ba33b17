import numpy as np
import pytest

from bayesgrid.studies.regression.spec import TrainingSpec
from bayesgrid.studies.regression_search.configurations import drawn_configurations, evaluated_configurations
from bayesgrid.studies.regression_search.spec import RegressionSearchSpec, SearchSpace

SPACE = SearchSpace(learning_rate=(1e-5, 1e-1), weight_decay=(1e-6, 1e-2), dropout=(0.1, 0.3))


@pytest.mark.parametrize("count", [16, 64])
def test_each_sixteenth_of_a_range_has_as_many_configurations_as_the_others(count: int) -> None:
    """The first 2^m points of a scrambled Sobol sequence are stratified in each coordinate (Owen 1998)."""
    values = drawn_configurations(SPACE, count, 3)
    exponents = np.column_stack([np.log10(values[:, 0]), np.log10(values[:, 1]), values[:, 2]])
    for column, ends in zip(exponents.T, [(-5, -1), (-6, -2), (0.1, 0.3)], strict=True):
        counts, _ = np.histogram(column, bins=16, range=ends)
        assert counts.tolist() == [count // 16] * 16


def test_fewer_configurations_are_the_first_of_more() -> None:
    many = drawn_configurations(SPACE, 64, 0)
    for count in (1, 2, 3, 33):
        assert np.array_equal(drawn_configurations(SPACE, count, 0), many[:count])
    assert not np.isin(drawn_configurations(SPACE, 64, 1)[:, 0], many[:, 0]).any()


def test_values_have_six_significant_digits_and_stay_in_the_range() -> None:
    narrow = SearchSpace(learning_rate=(0.1000004, 0.1000006), weight_decay=(1e-3, 1e-3), dropout=(0.0, 0.0))
    values = drawn_configurations(narrow, 8, 0)
    assert np.all((values[:, 0] >= 0.1000004) & (values[:, 0] <= 0.1000006))
    assert np.all(values[:, 1:] == [1e-3, 0.0])
    drawn = drawn_configurations(SPACE, 64, 0)
    assert all(float(f"{value:.5e}") == value for value in drawn.ravel())


def test_defaults_of_the_loop_and_included_values_follow_the_drawn_ones() -> None:
    included = {"name": "own", "learning_rate": 0.5, "weight_decay": 0.0, "dropout": 0.4}
    spec = RegressionSearchSpec.from_parameters(
        {"dataset": "diamonds", "seeds": "0", "configurations": 2, "include": [included]}, where="test"
    )
    configurations = evaluated_configurations(spec)
    # The id of a search does not hold the loop's defaults: when these change, its revision must be raised.
    loop = TrainingSpec()
    assert (loop.learning_rate, loop.weight_decay, loop.dropout) == (1e-3, 0.0, 0.05)
    assert [own.origin for own in configurations] == ["drawn", "drawn", "defaults", "included"]
    defaults, last = configurations[2:]
    assert (defaults.learning_rate, defaults.weight_decay, defaults.dropout) == (
        loop.learning_rate,
        loop.weight_decay,
        loop.dropout,
    )
    assert (last.name, last.learning_rate, last.weight_decay, last.dropout) == ("own", 0.5, 0.0, 0.4)
