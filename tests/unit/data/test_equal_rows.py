import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bayesgrid.data.equal_rows import equal_row_classes

VALUES = st.sampled_from([0.0, -0.0, 1.5])


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.sampled_from([0.0, -0.0, 1.5]))
)
def test_rows_share_a_class_exactly_when_they_are_equal(rows):
    classes = equal_row_classes(rows)
    for i in range(len(rows)):
        for j in range(len(rows)):
            assert (classes[i] == classes[j]) == bool((rows[i] == rows[j]).all())


def test_classes_are_numbered_in_order_of_appearance():
    rows = np.array([[3.0], [1.0], [3.0], [-0.0], [0.0], [1.0]])
    assert equal_row_classes(rows).tolist() == [0, 1, 0, 2, 2, 1]


def test_rows_of_a_transposed_array_are_compared_as_rows():
    rows = np.array([[1.0, 2.0, 1.0], [5.0, 5.0, 5.0]]).T
    assert equal_row_classes(rows).tolist() == [0, 1, 0]
