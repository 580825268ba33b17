"""Noise on images: one grey Gaussian field for all channels, a function of question, level and trial alone.

The reference adds unseeded noise to the full-sized image, where resizing averages it away, and fails on grey images.
Here the image is RGB and has the size the model sees before noise is added.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bayesgrid.data.choice_questions import IMAGES_FOLDER, ChoiceQuestion, ChoiceQuestions
from bayesgrid.errors import DataError
from bayesgrid.random_streams import random_stream

__all__ = ["MAXIMUM_SIDE", "add_noise_to_images", "noisy_image", "resized"]

MAXIMUM_SIDE = 224
"""Longer side of an image as models see it, in pixels."""


def resized(image: Image.Image, maximum_side: int = MAXIMUM_SIDE) -> Image.Image:
    """Return ``image`` as RGB, reduced so that its longer side is at most ``maximum_side`` pixels; never enlarged."""
    colour = image.convert("RGB")
    scale = maximum_side / max(colour.size)
    if scale >= 1:
        return colour
    width, height = (max(1, round(side * scale)) for side in colour.size)
    return colour.resize((width, height), Image.Resampling.LANCZOS)


def noisy_image(image: Image.Image, question_id: str, *, level: int, trial: int = 0) -> NDArray[np.uint8]:
    """Return ``clip(resized image + level * field)`` with a standard normal field ``[height, width]``.

    Args:
        image: of any mode and size.
        question_id: the question the image belongs to; two questions about one image have different noise.
        level: standard deviation on the scale from 0 to 255; 0 adds nothing.
        trial: which draw of the noise.

    Returns:
        uint8 ``[height, width, 3]``.
    """
    pixels = np.asarray(resized(image), dtype=np.float64)
    field = random_stream(trial, f"image noise {question_id}", level).standard_normal(pixels.shape[:2])
    return np.clip(np.rint(pixels + level * field[:, :, None]), 0, 255).astype(np.uint8)


def add_noise_to_images(questions: ChoiceQuestions, folder: Path, *, level: int, trial: int = 0) -> ChoiceQuestions:
    """Return ``questions`` with noisy images, which are written as PNG below ``folder``, one for each question.

    Raises:
        DataError: if a question has no image, or it cannot be read.
    """

    def noisy(question: ChoiceQuestion) -> ChoiceQuestion:
        path = questions.image_path(question)
        name = f"{path.stem}-{question.question_id}.png"
        try:
            with Image.open(path) as image:
                pixels = noisy_image(image, question.question_id, level=level, trial=trial)
        except OSError as error:
            raise DataError(f"the image cannot be read: {error}", where=str(path)) from error
        Image.fromarray(pixels).save(folder / IMAGES_FOLDER / name)
        return replace(question, image=name)

    (folder / IMAGES_FOLDER).mkdir(parents=True, exist_ok=True)
    splits = {split: tuple(noisy(question) for question in rows) for split, rows in questions.splits.items()}
    return replace(questions, splits=splits, folder=folder)
