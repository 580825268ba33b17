import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from bayesgrid.errors import DataError
from bayesgrid.metrics.multiple_comparisons import holm_adjusted, holm_adjusted_families, paired_p_value


@given(hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 1)), st.floats(0.001, 0.5))
def test_holm_rejects_what_the_sequential_procedure_rejects(p_values, level):
    rejected = set()
    for step, index in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[index] * (p_values.size - step) > level:
            break
        rejected.add(int(index))
    assert set(np.flatnonzero(holm_adjusted(p_values) <= level)) == rejected


def test_holm_of_a_textbook_family():
    np.testing.assert_allclose(holm_adjusted([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_paired_p_value_is_that_of_the_paired_t_test():
    first, second = np.random.default_rng(0).normal(size=(2, 9))
    assert paired_p_value(first - second) == pytest.approx(stats.ttest_rel(first, second).pvalue)


def test_equal_differences_are_certain_and_zero_ones_say_nothing():
    assert paired_p_value([0.0, 0.0, 0.0]) == 1.0
    assert paired_p_value([0.5, 0.5, 0.5]) == 0.0


def test_families_are_adjusted_each_by_itself():
    families = {"accuracy": [0.01, 0.04, 0.03, 0.005], "one comparison": [0.04]}
    adjusted = holm_adjusted_families(families)
    assert list(adjusted) == ["accuracy", "one comparison"]
    np.testing.assert_allclose(adjusted["accuracy"], [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(adjusted["one comparison"], [0.04])


def test_a_faulty_family_is_named():
    with pytest.raises(DataError, match="family calibration"):
        holm_adjusted_families({"accuracy": [0.1], "calibration": [1.5]})
    with pytest.raises(DataError):
        holm_adjusted_families({})


@pytest.mark.parametrize(
    "call", [lambda: holm_adjusted([]), lambda: holm_adjusted([1.5]), lambda: paired_p_value([1.0])]
)
def test_malformed_input_is_a_data_error(call):
    with pytest.raises(DataError):
        call()
