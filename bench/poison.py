"""Poison: broken files in place of a seeded share of a data set's images, the same for every arm.

Each is a kind of file from :mod:`bench.corrupt_images` with bytes of its own, so that it is an image of its
own: it has to end as a dead letter with a known reason.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bench.corrupt_images import poison_image
from bench.images import Dataset, DatasetImage
from signals.cache import cache_dir
from signals.image import image_signature

_STREAM = 0x706F69736F6E  # keeps these draws apart from those of a schedule with the same seed


def poisoned_count(share: float, images: int) -> int:
    """How many of ``images`` are replaced."""
    return round(share * images)


def with_poison(dataset: Dataset, share: float, *, seed: int) -> Dataset:
    """The data set with exactly ``poisoned_count`` of its images, drawn by ``seed``, replaced."""
    images = list(dataset.images)
    draw = np.random.default_rng([seed, _STREAM])
    for number, index in enumerate(draw.permutation(len(images))[: poisoned_count(share, len(images))]):
        images[index] = _file(number)
    return dataclasses.replace(dataset, images=tuple(images))


def _file(number: int) -> DatasetImage:
    sample = poison_image(number)
    path = cache_dir() / "images" / "poison" / sample.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != sample.data:
        path.write_bytes(sample.data)
    return DatasetImage(path, image_signature(sample.data), len(sample.data), f"poison/{sample.name}")
