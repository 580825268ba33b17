"""What a frozen vision tower makes of an image, computed once and put into as many forward passes as are wanted.

Adapters sit on the language model alone, so the tower's outputs are the same for every draw, seed, method and epoch.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bayesgrid.errors import DataError
from bayesgrid.models.image_prompts import image_token_id
from bayesgrid.models.loading import LanguageModel

__all__ = ["ImageFeatures", "VisionFeatureCache", "image_batch"]


@dataclass(frozen=True)
class ImageFeatures:
    """The vision tower's outputs for one image.

    Args:
        embeddings: ``[n, hidden]``, what stands in the ``n`` places of the image.
        deepstack: further ``[n, hidden]``, added to the states after the first layers of the language model (Qwen3-VL;
            Meng et al., DeepStack, 2024); empty in other families.
        grid: ``[3]``, patches in time, height and width; None where places have one dimension.
    """

    embeddings: Tensor
    deepstack: tuple[Tensor, ...]
    grid: Tensor | None

    @property
    def places(self) -> int:
        """Number of tokens that the image takes."""
        return int(self.embeddings.shape[0])


class VisionFeatureCache:
    """Features of images by content, each computed once, alone, so that they do not depend on what else is in a batch.

    Args:
        model: a model that sees; its vision tower must be frozen and without adapters.
        capacity: how many images are kept; the one that was not asked for the longest goes first.
        device: where kept features lie; main memory unless told otherwise.
    """

    def __init__(self, model: LanguageModel, capacity: int = 20_000, device: torch.device | None = None) -> None:
        if model.processor is None:
            raise DataError("the model does not see", where=f"model {model.name!r}")
        self._decoder: Any = model.decoder
        self._processor: Any = model.processor
        self._capacity = capacity
        self._device = device or torch.device("cpu")
        self._kept: OrderedDict[str, ImageFeatures] = OrderedDict()

    def features(self, image: Image.Image) -> ImageFeatures:
        """Return the features of ``image``, which has its final size."""
        key = hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()
        if key not in self._kept:
            self._kept[key] = self._compute(image)
            if len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    @torch.no_grad()
    def _compute(self, image: Image.Image) -> ImageFeatures:
        inputs = self._processor(images=[image], return_tensors="pt")
        device = next(self._decoder.parameters()).device
        pixels, grid = inputs["pixel_values"].to(device), inputs.get("image_grid_thw")
        if grid is None:
            pixels = pixels.to(next(self._decoder.vision_tower.parameters()).dtype)
            found = self._decoder.get_image_features(pixels, return_dict=True)
            return ImageFeatures(found.pooler_output[0].to(self._device), (), None)
        found = self._decoder.get_image_features(pixels, grid.to(device), return_dict=True)
        deepstack = tuple(level[0].to(self._device) for level in found.deepstack_features)
        return ImageFeatures(found.pooler_output[0].to(self._device), deepstack, grid[0].cpu())


def image_batch(
    decoder: Any, prompts: Sequence[NDArray[np.int64]], features: Sequence[ImageFeatures], *, repeats: int = 1
) -> dict[str, Any]:
    """Return the arguments of ``decoder`` for a batch of prompts with one image each.

    Prompts are padded on the right; padding comes after the last token that is read, so causal attention never sees it.

    Args:
        decoder: the model that sees, without its head.
        prompts: token ids ``[T_i]`` with the places of the image left free.
        features: of each prompt's image.
        repeats: the rows are given that many times, one copy after the other: one block for each adapter slot.

    Raises:
        DataError: if a prompt leaves more or fewer places than its image takes.
    """
    place = image_token_id(decoder)
    for row, (ids, image) in enumerate(zip(prompts, features, strict=True)):
        if int((ids == place).sum()) != image.places:
            raise DataError(
                "the prompt has another number of places than the image takes",
                where=f"row {row}",
                given=int((ids == place).sum()),
                allowed=image.places,
            )
    padded = np.full((len(prompts), max(len(ids) for ids in prompts)), _padding(place), dtype=np.int64)
    for row, ids in enumerate(prompts):
        padded[row, : len(ids)] = ids
    device = next(decoder.parameters()).device
    tokens = torch.from_numpy(padded).to(device).repeat(repeats, 1)
    kinds = (tokens == place).long()
    images = list(features) * repeats
    if images[0].grid is None:
        seen = torch.stack([image.embeddings for image in images]).to(device)
        return {
            "input_ids": tokens,
            "token_type_ids": kinds,
            "mm_encoder_outputs": {"image": _Seen(pooler_output=seen)},
        }
    levels = range(len(images[0].deepstack))
    return {
        "input_ids": tokens,
        "mm_token_type_ids": kinds,
        "image_grid_thw": torch.stack([image.grid for image in images if image.grid is not None]).to(device),
        "mm_encoder_outputs": {
            "image": _Seen(
                pooler_output=[image.embeddings.to(device) for image in images],
                deepstack_features=[[image.deepstack[level].to(device) for image in images] for level in levels],
            )
        },
    }


@dataclass(frozen=True)
class _Seen:
    """What a decoder reads of its vision tower's output."""

    pooler_output: Tensor | list[Tensor]
    deepstack_features: list[list[Tensor]] | None = None


def _padding(place: int) -> int:
    return 0 if place != 0 else 1
