import numpy as np
import pytest
from scipy import optimize

from bayesgrid.metrics.logit_scale import HIGHEST_SCALE, LOWEST_SCALE, binary_losses, fit_logit_scale
from bayesgrid.metrics.temperature import fit_inverse_temperature


def rows(seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((4, 300))
    target = (rng.random((4, 300)) < 1 / (1 + np.exp(-truth))).astype(float)
    return truth * np.array([[0.1], [1.0], [3.0], [40.0]]), target


def test_scale_minimises_the_loss_of_each_row():
    logits, target = rows()
    found = fit_logit_scale(logits, target)
    for z, y, scale in zip(logits, target, found, strict=True):
        best = optimize.minimize_scalar(
            lambda u, z=z, y=y: binary_losses(np.exp(u) * z, y).mean(),
            bounds=(-6, 6),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert np.log(scale) == pytest.approx(best.x, abs=1e-5)


def test_scale_agrees_with_the_temperature_of_two_classes():
    logits, target = rows(1)
    two = np.stack([logits[2], np.zeros(300)], axis=1)[None]
    other = fit_inverse_temperature(two, (target[2] < 0.5).astype(int), np.full(300, 2))
    assert fit_logit_scale(logits, target)[2] == pytest.approx(other, rel=1e-5)


def test_soft_labels_of_the_logits_themselves_ask_for_no_scale():
    logits, _ = rows()
    np.testing.assert_allclose(fit_logit_scale(logits, 1 / (1 + np.exp(-logits))), 1.0, rtol=1e-6)


def test_wrong_and_perfect_logits_end_at_the_limits():
    logits = np.array([[1.0, -2.0], [1.0, -2.0]])
    found = fit_logit_scale(logits, [[0.0, 1.0], [1.0, 0.0]])
    assert found[0] == pytest.approx(LOWEST_SCALE)
    # Where the loss has rounded to 0 there is nothing to gain from going on.
    assert 100 < found[1] <= HIGHEST_SCALE
