import hashlib

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from bayesgrid.data.image_noise import noisy_image, resized


def gradient(width, height):
    ramp = np.linspace(0, 255, width * height).reshape(height, width)
    return Image.fromarray(np.stack([ramp, ramp[:, ::-1], np.full_like(ramp, 128)], axis=2).astype(np.uint8))


def peak_signal_to_noise(clean, noisy):
    return 10 * np.log10(255**2 / np.mean((clean.astype(float) - noisy) ** 2))


def test_noise_is_the_same_on_every_machine():
    pixels = noisy_image(Image.new("L", (5, 3), 128), "q1", level=32, trial=1)
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()[:16]
    assert digest == "58b2a06206427b96"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_level_zero_changes_nothing_but_size_and_mode(mode):
    image = gradient(100, 40).convert(mode)
    np.testing.assert_array_equal(noisy_image(image, "q", level=0), np.asarray(image.convert("RGB")))


def test_the_field_is_grey_and_normal_with_the_level_as_standard_deviation():
    grey = Image.new("RGB", (224, 224), (100, 128, 150))
    noise = noisy_image(grey, "q", level=8).astype(float) - np.array([100, 128, 150])
    np.testing.assert_array_equal(noise[..., 0], noise[..., 2])
    assert abs(noise[..., 0].std() - np.sqrt(64 + 1 / 12)) < 0.1
    assert (
        stats.kstest(noise[..., 0].ravel() + np.random.default_rng(0).uniform(-0.5, 0.5, 224**2), "norm", (0, 8)).pvalue
        > 1e-3
    )


def test_question_level_and_trial_each_have_a_field_of_their_own():
    image = Image.new("L", (64, 64), 128)
    settings = [("q", 16, 0), ("r", 16, 0), ("q", 32, 0), ("q", 16, 1)]
    fields = [
        noisy_image(image, one, level=level, trial=trial)[..., 0].ravel() / level for one, level, trial in settings
    ]
    correlations = np.corrcoef(fields)
    assert np.abs(correlations - np.eye(len(settings))).max() < 0.1


@pytest.mark.parametrize(("level", "low", "high"), [(1, 47, 49), (16, 23.5, 25), (128, 8, 11)])
def test_signal_to_noise_ratio_is_that_of_the_level(level, low, high):
    # Without clipping it is 20 log10(255 / level): 48.1, 24.0 and 6.0 dB; clipping takes away from the largest noise.
    image = gradient(224, 224)
    assert low < peak_signal_to_noise(np.asarray(image), noisy_image(image, "q", level=level)) < high


@pytest.mark.parametrize(
    ("before", "after"),
    [((448, 224), (224, 112)), ((100, 50), (100, 50)), ((224, 224), (224, 224)), ((1000, 2), (224, 1))],
)
def test_images_shrink_to_the_side_models_see_and_never_grow(before, after):
    assert resized(gradient(*before)).size == after
    assert noisy_image(gradient(*before), "q", level=4).shape == (after[1], after[0], 3)
