"""From a decoded image to the model's input size: one definition, named in the model's manifest.

How an image is resized changes its embedding, so both architectures and every tool use this function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from signals.errors import ConfigurationError
from signals.image import RgbImage

BICUBIC_CENTRE_CROP = "bicubic_centre_crop_v1"


@dataclass(frozen=True, slots=True)
class PreprocessSpec:
    """Resize so that the shorter side has ``resize_size`` pixels, then cut ``input_size`` squared from the
    centre. Raises ConfigurationError for an unknown name or impossible sizes."""

    input_size: int  # pixels
    resize_size: int  # pixels, at least input_size
    name: str = BICUBIC_CENTRE_CROP

    def __post_init__(self) -> None:
        if self.name != BICUBIC_CENTRE_CROP:
            raise ConfigurationError(f"preprocessing {self.name!r} is unknown; use {BICUBIC_CENTRE_CROP}")
        if not 1 <= self.input_size <= self.resize_size <= 4096:
            raise ConfigurationError(
                f"preprocessing needs 1 <= input size <= resize size <= 4096, "
                f"not {self.input_size} and {self.resize_size}"
            )


def prepare(rgb: RgbImage, spec: PreprocessSpec) -> RgbImage:
    """uint8 (H, W, 3) -> uint8 (input_size, input_size, 3), antialiased bicubic.

    Only the square that the crop will keep is resampled: the result is that of resizing first, and an
    image of 1 x 40,000,000 pixels does not become one of 224 x 9,000,000,000 on the way.
    """
    height, width = rgb.shape[:2]
    side = min(height, width) * spec.input_size / spec.resize_size
    left, top = (width - side) / 2, (height - side) / 2
    size = (spec.input_size, spec.input_size)
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, box=box))
