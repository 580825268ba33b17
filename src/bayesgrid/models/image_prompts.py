"""Prompts with one image: how the image is made small, and how the text leaves room for its features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from bayesgrid.errors import ConfigurationError, DataError

__all__ = [
    "MAX_IMAGE_SIDE",
    "full_image_prompt",
    "image_size",
    "image_token_id",
    "read_image",
    "shrink_image",
    "shrunk_size",
]

MAX_IMAGE_SIDE = 224
"""Longest side of an image in pixels, as in the published experiments."""


def read_image(path: Path) -> Image.Image:
    """Return the image at ``path`` in red, green and blue.

    Raises:
        DataError: if there is none, or it is damaged.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise DataError(f"the image cannot be read: {error}", where=str(path)) from error


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels of the image at ``path``, whose pixels are not read.

    Raises:
        DataError: if there is none, or its beginning is damaged.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise DataError(f"the image cannot be read: {error}", where=str(path)) from error


def shrink_image(image: Image.Image, max_side: int = MAX_IMAGE_SIDE) -> Image.Image:
    """Return ``image`` with its longer side at most ``max_side`` pixels; a smaller image stays as it is.

    The filter is Lanczos', the proportions are kept, and no side falls below one pixel.

    Raises:
        ConfigurationError: if ``max_side`` is below 1.
    """
    size = shrunk_size(image.size, max_side)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def shrunk_size(size: tuple[int, int], max_side: int = MAX_IMAGE_SIDE) -> tuple[int, int]:
    """Return width and height of an image of ``size`` after :func:`shrink_image`.

    Raises:
        ConfigurationError: if ``max_side`` is below 1.
    """
    if max_side < 1:
        raise ConfigurationError("an image needs at least one pixel", given=max_side, allowed="1 or more")
    longer = max(size)
    if longer <= max_side:
        return size
    width, height = (max(1, round(side * max_side / longer)) for side in size)
    return width, height


def image_token_id(decoder: Any) -> int:
    """Return the id of the token in whose places the features of an image stand."""
    return int(decoder.config.image_token_id)


def full_image_prompt(decoder: Any, tokenizer: Any, text: str, features: int) -> str:
    """Return the whole model input for an image followed by ``text`` in the user's turn of a chat.

    What the model's own processor does is done here by hand, because some processors need packages for video that
    stills can do without.

    Args:
        decoder: the model that sees, without its head.
        tokenizer: its tokenizer.
        text: the user's turn after the image.
        features: number of places that the image takes.

    Raises:
        DataError: if the model has no chat template, its template has no place for an image, or ``text`` contains the
            token that stands for an image.
        ConfigurationError: if the family of the model is not supported.
    """
    mark, room = _image_markup(decoder, tokenizer, features)
    where = f"model folder {getattr(tokenizer, 'name_or_path', '')}"
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        raise DataError("the model has no chat template, so it cannot be shown an image", where=where)
    turn: Sequence[dict[str, str]] = [{"type": "image"}, {"type": "text", "text": text}]
    options = {"enable_thinking": False} if "enable_thinking" in str(template) else {}
    prompt = str(
        tokenizer.apply_chat_template(
            [{"role": "user", "content": turn}], tokenize=False, add_generation_prompt=True, **options
        )
    )
    if mark in text:
        raise DataError("the text contains the token that stands for an image", where=where, given=repr(mark))
    if prompt.count(mark) != 1:
        raise DataError("the chat template of the model has no place for an image", where=where, allowed=repr(mark))
    return prompt.replace(mark, room)


def _image_markup(decoder: Any, tokenizer: Any, features: int) -> tuple[str, str]:
    family = type(decoder.config).__name__
    place = tokenizer.convert_ids_to_tokens(image_token_id(decoder))
    if family == "Qwen3VLConfig":
        return place, place * features
    if family == "Gemma3Config":
        start = tokenizer.convert_ids_to_tokens(decoder.config.boi_token_index)
        end = tokenizer.convert_ids_to_tokens(decoder.config.eoi_token_index)
        return start, f"\n\n{start}{place * features}{end}\n\n"
    raise ConfigurationError(
        "this family of models cannot be shown an image", given=family, allowed="Gemma3Config, Qwen3VLConfig"
    )
