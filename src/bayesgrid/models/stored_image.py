"""An image that a question names: where it lies, how many tokens it takes, and its features when they are asked for."""

from dataclasses import dataclass
from pathlib import Path

from bayesgrid.models.image_features import ImageFeatures, VisionFeatureCache
from bayesgrid.models.image_prompts import image_size, shrunk_size

__all__ = ["StoredImage"]


@dataclass(frozen=True)
class StoredImage:
    """An image in a file, read and looked at when its features are asked for.

    Args:
        path: the file.
        vision: computes the features, and keeps them.
    """

    path: Path
    vision: VisionFeatureCache

    @property
    def places(self) -> int:
        """Number of tokens that the image takes, from its size alone."""
        return self.vision.places(shrunk_size(image_size(self.path)))

    @property
    def features(self) -> ImageFeatures:
        """What the vision tower makes of the image."""
        return self.vision.features_of_file(self.path)
