"""What a frozen vision tower makes of an image, computed once and put into as many forward passes as are wanted.

Adapters sit on the language model alone, so the tower's outputs are the same for every draw, seed, method and epoch.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bayesgrid.errors import DataError
from bayesgrid.models.image_prompts import image_token_id, read_image, shrink_image
from bayesgrid.models.loading import LanguageModel

__all__ = ["ImageBatch", "ImageFeatures", "VisionFeatureCache", "image_batch"]

_KEPT_BYTES = 16 * 2**30


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

    @property
    def size_bytes(self) -> int:
        """Memory that the features take, in bytes."""
        return sum(level.nbytes for level in (self.embeddings, *self.deepstack))

    def on(self, device: torch.device) -> "ImageFeatures":
        """Return the features on ``device``."""
        grid = None if self.grid is None else self.grid.to(device)
        return ImageFeatures(self.embeddings.to(device), tuple(level.to(device) for level in self.deepstack), grid)


class VisionFeatureCache:
    """Features of images by content, each computed once, alone, so that they do not depend on what else is in a batch.

    Args:
        model: a model that sees; its vision tower must be frozen and without adapters.
        capacity: how many images are kept; the one that was not asked for the longest goes first.
        most_bytes: memory that they may take together, in bytes.
        device: where kept features lie; main memory unless told otherwise.
    """

    def __init__(
        self,
        model: LanguageModel,
        capacity: int = 20_000,
        device: torch.device | None = None,
        *,
        most_bytes: int = _KEPT_BYTES,
    ) -> None:
        if model.processor is None:
            raise DataError("the model does not see", where=f"model {model.name!r}")
        self._decoder: Any = model.decoder
        self._processor: Any = model.processor
        self._capacity = capacity
        self._device = device or torch.device("cpu")
        self._kept: OrderedDict[str, ImageFeatures] = OrderedDict()
        self._most_bytes = most_bytes
        self._bytes = 0
        self._digest_of: dict[Path, str] = {}
        self._places_of: dict[tuple[int, int], int] = {}

    def features(self, image: Image.Image) -> ImageFeatures:
        """Return the features of ``image``, which has its final size."""
        key = _digest(image)
        if key not in self._kept:
            self._keep(key, self._compute(image))
        self._kept.move_to_end(key)
        return self._kept[key]

    def features_of_file(self, path: Path) -> ImageFeatures:
        """Return the features of the image at ``path``, made small; a file is read again only if they were forgotten.

        Raises:
            DataError: if there is no image, or it is damaged.
        """
        key = self._digest_of.get(path)
        if key is None or key not in self._kept:
            image = shrink_image(read_image(path))
            self._digest_of[path] = _digest(image)
            return self.features(image)
        self._kept.move_to_end(key)
        return self._kept[key]

    def places(self, size: tuple[int, int]) -> int:
        """Return how many tokens an image of ``size`` (width, height) takes, without running the vision tower."""
        if size not in self._places_of:
            grid = self._processor(images=[Image.new("RGB", size)], return_tensors="pt").get("image_grid_thw")
            if grid is None:
                self._places_of[size] = int(self._decoder.config.mm_tokens_per_image)
            else:
                merged = int(self._decoder.visual.spatial_merge_size) ** 2
                self._places_of[size] = int(grid[0].prod()) // merged
        return self._places_of[size]

    def _keep(self, key: str, features: ImageFeatures) -> None:
        self._kept[key] = features
        self._bytes += features.size_bytes
        while len(self._kept) > self._capacity or (self._bytes > self._most_bytes and len(self._kept) > 1):
            self._bytes -= self._kept.popitem(last=False)[1].size_bytes

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


def _digest(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()


@dataclass(frozen=True)
class ImageBatch:
    """Prompts with one image each, whole: no beginning is shared, because an image stands near the front of each.

    Args:
        prompts: token ids ``[T_i]`` with the places of the image left free.
        features: of each prompt's image.
        last: ``[rows]``, index of each prompt's last token, on the device of the decoder.
        repeats: how many times over the rows stand there, one copy after the other.
    """

    prompts: tuple[NDArray[np.int64], ...]
    features: tuple[ImageFeatures, ...]
    last: Tensor
    repeats: int = 1

    def repeated(self, times: int) -> "ImageBatch":
        """Return the rows ``times`` times over, one copy after the other: one block for each of ``times`` slots."""
        return replace(self, last=self.last.repeat(times), repeats=self.repeats * times)

    def arguments(self, decoder: Any) -> dict[str, Any]:
        """Return the arguments of ``decoder`` for the rows; see :func:`image_batch`."""
        return image_batch(decoder, self.prompts, self.features, repeats=self.repeats)


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
    # Rows about one image share its features, which travel once.
    moved = {id(image): image.on(device) for image in features}
    images = [moved[id(image)] for image in features] * repeats
    if images[0].grid is None:
        seen = torch.stack([image.embeddings for image in images])
        return {
            "input_ids": tokens,
            "token_type_ids": kinds,
            "mm_encoder_outputs": {"image": _Seen(pooler_output=seen)},
        }
    levels = range(len(images[0].deepstack))
    return {
        "input_ids": tokens,
        "mm_token_type_ids": kinds,
        "image_grid_thw": torch.stack([image.grid for image in images if image.grid is not None]),
        "mm_encoder_outputs": {
            "image": _Seen(
                pooler_output=[image.embeddings for image in images],
                deepstack_features=[[image.deepstack[level] for image in images] for level in levels],
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
