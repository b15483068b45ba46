"""Cuts a data set of distinct JPEG crops out of photographs that ship in wheels. Seeded and cached."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import orjson
import simplejpeg
from PIL import Image

from signals.cache import cache_dir
from signals.errors import ConfigurationError, MissingRequirement
from signals.image import image_signature

GENERATOR_VERSION = 1  # part of the cache key; raise it when the crops change
INDEX_FILE = "index.json"
_SOURCE_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
_ENCODERS = (
    "pillow",
    "simplejpeg",
    "numpy",
    "scikit-image",
    "scikit-learn",
)  # their versions decide the bytes
_MIN_CROP_SHARE = 0.35  # of the source's shorter side
_MAX_ASPECT = 1.5


@dataclass(frozen=True, slots=True)
class CropsSpec:
    """How the crops are cut. Sides in pixels, JPEG qualities from 1 to 100."""

    count: int
    seed: int
    min_side_px: int
    max_side_px: int
    min_quality: int
    max_quality: int
    sources: tuple[str, ...]  # skimage/NAME or sklearn/NAME

    def validate(self, where: str) -> None:
        """Raise ConfigurationError where a value makes no sense."""
        if not (self.count >= 1 and 16 <= self.min_side_px <= self.max_side_px <= 8192):
            raise ConfigurationError(
                f"{where}: needs count >= 1 and 16 <= min_side_px <= max_side_px <= 8192"
            )
        if not 1 <= self.min_quality <= self.max_quality <= 100:
            raise ConfigurationError(f"{where}: needs 1 <= min_quality <= max_quality <= 100")
        if not self.sources:
            raise ConfigurationError(f"{where}: sources is empty")


@dataclass(frozen=True, slots=True)
class Crop:
    """One line of the index."""

    name: str
    image_signature: str
    size_bytes: int


def crops(spec: CropsSpec, progress: Callable[[str], None] | None = None) -> tuple[Path, list[Crop]]:
    """The folder of the crops and their index, in order. Cut unless they are cached.

    Raises ConfigurationError for an unknown source, MissingRequirement if a wheel lacks it.
    """
    key = orjson.dumps([GENERATOR_VERSION, asdict(spec), {name: version(name) for name in _ENCODERS}])
    folder = cache_dir() / "images" / f"crops-{hashlib.sha256(key).hexdigest()[:16]}"
    if not (folder / INDEX_FILE).exists():
        if progress:
            progress(f"cutting {spec.count} images")
        _cut_all(spec, folder)
    index = orjson.loads((folder / INDEX_FILE).read_bytes())
    return folder, [Crop(**entry) for entry in index]


def _cut_all(spec: CropsSpec, folder: Path) -> None:
    photos = [(Path(source).stem, _photo(source)) for source in spec.sources]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        target = Path(temporary) / "crops"
        target.mkdir()
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow and simplejpeg release the interpreter lock
            index = list(pool.map(lambda number: _cut(spec, photos, number, target), range(spec.count)))
        if len({crop.image_signature for crop in index}) != spec.count:
            raise ConfigurationError("two crops came out the same; choose another seed or larger sides")
        (target / INDEX_FILE).write_bytes(orjson.dumps([asdict(crop) for crop in index]))
        try:
            target.rename(folder)
        except OSError:
            if not (folder / INDEX_FILE).exists():  # else another process was faster
                shutil.rmtree(folder, ignore_errors=True)
                target.rename(folder)


def _cut(spec: CropsSpec, photos: Sequence[tuple[str, Image.Image]], number: int, target: Path) -> Crop:
    random = np.random.default_rng([spec.seed, number])  # each crop has its own, whatever thread cuts it
    stem, photo = photos[number % len(photos)]
    long_side = int(random.integers(spec.min_side_px, spec.max_side_px + 1))
    aspect = random.uniform(1.0, _MAX_ASPECT)
    size = long_side, max(spec.min_side_px, round(long_side / aspect))
    if random.random() < 0.5:
        size = size[1], size[0]
    # The crop has the shape of the result and covers a share of the largest such crop of the photo.
    largest = min(photo.width / size[0], photo.height / size[1])
    scale = largest * random.uniform(_MIN_CROP_SHARE, 1.0)
    width, height = size[0] * scale, size[1] * scale
    left, top = random.uniform(0, photo.width - width), random.uniform(0, photo.height - height)
    crop = photo.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    if random.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    quality = int(random.integers(spec.min_quality, spec.max_quality + 1))
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(crop), quality=quality, colorsubsampling="420")
    name = f"{number:05d}-{stem}.jpg"
    (target / name).write_bytes(data)
    return Crop(name, image_signature(data), len(data))


def _photo(source: str) -> Image.Image:
    package, _, name = source.partition("/")
    if package not in _SOURCE_FOLDERS or not name or "/" in name:
        raise ConfigurationError(
            f"{source!r} is no source of crops; it is skimage/NAME or sklearn/NAME, e.g. skimage/chelsea.png"
        )
    spec = find_spec(package)
    path = Path(spec.origin if spec and spec.origin else "").parent / _SOURCE_FOLDERS[package] / name
    if not path.is_file():
        raise MissingRequirement(f"the installed {package} does not ship {name}; install requirements.lock")
    with Image.open(path) as image:
        return image.convert("RGB")
