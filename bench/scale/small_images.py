"""A few hundred small JPEGs, which stand for any number of arrivals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bench.images import Dataset, load_dataset

DISTINCT = 400
SIDE_PX = 64
SEED = 5


def small_images(folder: Path) -> Dataset:
    """Write DISTINCT JPEGs of SIDE_PX into ``folder`` and load them."""
    random = np.random.default_rng(SEED)
    for number in range(DISTINCT):
        coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        coarse.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.jpg")
    return load_dataset(str(folder))
