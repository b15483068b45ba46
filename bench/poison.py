"""Poison: broken files in place of a seeded share of a data set's images, the same for every arm.

Each is a kind of file from :mod:`bench.corrupt_images` with bytes of its own, so that it is an image of its
own: it has to end as a dead letter with a known reason.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bench.corrupt_images import poison_image
from bench.images import Dataset, cached_image

_STREAM = 0x706F69736F6E  # keeps these draws apart from those of a schedule with the same seed


def poisoned_count(share: float, images: int) -> int:
    """How many of ``images`` are replaced."""
    return round(share * images)


def with_poison(dataset: Dataset, share: float, *, seed: int) -> Dataset:
    """The data set with exactly ``poisoned_count`` of its images, drawn by ``seed``, replaced."""
    images = list(dataset.images)
    draw = np.random.default_rng([seed, _STREAM])
    for number, index in enumerate(draw.permutation(len(images))[: poisoned_count(share, len(images))]):
        image = cached_image("poison", poison_image(number))
        images[index] = dataclasses.replace(image, name=f"poison/{image.name}")
    return dataclasses.replace(dataset, images=tuple(images))
