import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bayesgrid.errors import DataError
from bayesgrid.metrics import bayesian_signed_rank as module
from bayesgrid.metrics.bayesian_signed_rank import bayesian_signed_rank
from bayesgrid.random_streams import random_stream


def stream(index: int = 0) -> np.random.Generator:
    return random_stream(5, "posterior", index)


def brute_force(differences, rope, strength, draws):
    """Dirichlet weights as normalised gamma variables, sums over all pairs as loops."""
    generator = np.random.default_rng(99)
    atoms = [0.0, *differences]
    wins = {"left": 0, "rope": 0, "right": 0}
    for _ in range(draws):
        gammas = [generator.gamma(strength)] + [generator.exponential() for _ in differences]
        theta = {"left": 0.0, "rope": 0.0, "right": 0.0}
        for i, first in enumerate(atoms):
            for j, second in enumerate(atoms):
                middle = (first + second) / 2
                region = "left" if middle < -rope else "right" if middle > rope else "rope"
                theta[region] += gammas[i] * gammas[j]
        wins[max(theta, key=theta.__getitem__)] += 1
    return [wins[region] / draws for region in ("left", "rope", "right")]


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_probabilities_are_those_of_a_literal_simulation(strength):
    differences, rope, draws = [-0.9, 0.2, 0.4], 0.15, 4000
    result = bayesian_signed_rank(differences, rope=rope, generator=stream(), prior_strength=strength)
    expected = brute_force(differences, rope, strength, draws)
    np.testing.assert_allclose([result.left, result.rope, result.right], expected, atol=4 * 0.5 / np.sqrt(draws))
    assert min(expected) > 0.05


@pytest.mark.parametrize("strength", [0.5, 1.0, 3.0])
def test_one_difference_has_a_closed_form(strength):
    # w_0 ~ Beta(s, 1). Far outside, only (0, 0) is in the region: right wins when w_0^2 < 1/2. Between once and twice
    # the region only (1, 1) is outside: right wins when (1 - w_0)^2 > 1/2.
    far = bayesian_signed_rank([5.0], rope=1.0, generator=stream(), prior_strength=strength)
    near = bayesian_signed_rank([1.5], rope=1.0, generator=stream(1), prior_strength=strength)
    assert far.right == pytest.approx(0.5 ** (strength / 2), abs=0.01)
    assert near.right == pytest.approx((1 - np.sqrt(0.5)) ** strength, abs=0.01)
    assert far.left == near.left == 0


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(-2, 2)), st.floats(0, 1))
def test_exchanging_the_methods_exchanges_left_and_right(differences, rope):
    one = bayesian_signed_rank(differences, rope=rope, generator=stream(), draws=300)
    other = bayesian_signed_rank(-differences, rope=rope, generator=stream(), draws=300)
    assert (one.left, one.rope, one.right) == (other.right, other.rope, other.left)
    assert one.left + one.rope + one.right == pytest.approx(1)


def test_limits_are_certain():
    inside = bayesian_signed_rank([0.1, -0.05, 0.0], rope=0.1, generator=stream(), draws=500)
    assert (inside.left, inside.rope, inside.right) == (0, 1, 0)
    below = bayesian_signed_rank(np.linspace(-9, -8, 30), rope=0.1, generator=stream(), draws=2000)
    assert below.left > 0.999
    zeros = bayesian_signed_rank([0.0, 0.0], rope=0.0, generator=stream(), draws=100)
    assert zeros.rope == 1
    believed = bayesian_signed_rank([3.0] * 4, rope=0.1, generator=stream(), prior_strength=1e4, draws=200)
    assert believed.rope == 1


def test_a_wider_region_is_never_less_probable():
    differences = np.random.default_rng(1).normal(0.3, 0.5, size=7)
    shares = [bayesian_signed_rank(differences, rope=r, generator=stream()).rope for r in (0, 0.1, 0.3, 0.6, 2)]
    assert shares == sorted(shares)
    assert shares[-1] > shares[0]


def test_result_depends_on_the_stream_alone_and_not_on_the_chunk_size(monkeypatch):
    differences = [0.3, -0.2, 0.5, 0.1]
    whole = bayesian_signed_rank(differences, rope=0.1, generator=stream(), draws=501)
    assert whole != bayesian_signed_rank(differences, rope=0.1, generator=stream(1), draws=501)
    monkeypatch.setattr(module, "MAXIMUM_CHUNK_VALUES", 5 * 7)
    assert whole == bayesian_signed_rank(differences, rope=0.1, generator=stream(), draws=501)


@pytest.mark.parametrize(
    "call",
    [
        lambda: bayesian_signed_rank([], rope=0.1, generator=stream()),
        lambda: bayesian_signed_rank([np.inf], rope=0.1, generator=stream()),
        lambda: bayesian_signed_rank([1.0], rope=-0.1, generator=stream()),
        lambda: bayesian_signed_rank([1.0], rope=0.1, generator=stream(), prior_strength=0.0),
        lambda: bayesian_signed_rank([1.0], rope=0.1, generator=stream(), draws=0),
    ],
)
def test_malformed_input_is_a_data_error(call):
    with pytest.raises(DataError):
        call()
