"""Data sets: the ones that ship with the project, by name, or a user's own folder of images."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.corrupt_images import CorruptImage, corrupt_images
from bench.crops import CropsSpec, crops
from bench.definitions import definition_file, definition_names
from signals.cache import cache_dir
from signals.errors import ConfigurationError
from signals.image import image_signature

KIND = "images"  # of definitions
# A file that claims to be an image is one here, whatever it holds: that shows in its verdict.
_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff")
    + (".heic", ".heif", ".avif", ".jxl", ".jp2")
)
_MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")
MAX_FILE_BYTES = 256 * 1024**2  # a larger file is no photo; it is refused rather than read into memory

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DatasetImage:
    """One distinct image. ``name`` is its path within the data set."""

    path: Path
    image_signature: str
    size_bytes: int
    name: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Distinct images in a fixed order. From a shipped set a run takes as many as it needs."""

    name: str
    images: tuple[DatasetImage, ...]
    is_shipped: bool


def load_dataset(name_or_path: str, progress: Progress | None = None) -> Dataset:
    """Load a data set by name, by its TOML file, or a folder (searched with its sub-folders).

    Raises ConfigurationError for an unknown name, a bad definition, a folder without images.
    """
    known = definition_names(KIND)
    path = Path(name_or_path).expanduser()
    if name_or_path in known or path.suffix == ".toml":
        return _load_definition(definition_file(KIND, name_or_path), progress)
    if path.is_dir():
        return _load_folder(path, progress)
    if path.exists():
        raise ConfigurationError(
            f"{path} is no folder: give one that holds images, or one of {', '.join(known)}"
        )
    raise ConfigurationError(
        f"{name_or_path!r} is neither a folder of images nor a data set; data sets are {', '.join(known)}"
    )


def dataset_descriptions() -> dict[str, str]:
    """What ships with the project: name -> one line."""
    return {name: _read(definition_file(KIND, name))["description"] for name in definition_names(KIND)}


def _load_definition(path: Path, progress: Progress | None) -> Dataset:
    raw = _read(path)
    if raw["kind"] == "corrupt":
        return _load_corrupt(path.stem)
    spec = CropsSpec(**{f.name: _value(path, raw, f.name) for f in fields(CropsSpec)})
    spec.validate(str(path))
    folder, index = crops(spec, progress)
    images = (DatasetImage(folder / c.name, c.image_signature, c.size_bytes, c.name) for c in index)
    return Dataset(path.stem, tuple(images), is_shipped=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    expected = {"description", "kind"}
    if raw.get("kind") == "crops":
        expected |= {f.name for f in fields(CropsSpec)}
    elif raw.get("kind") != "corrupt":
        raise ConfigurationError(f'{path}: kind must be "crops" or "corrupt"')
    if set(raw) != expected:
        differing = ", ".join(sorted(set(raw) ^ expected))
        raise ConfigurationError(f"{path}: unknown or missing key {differing}")
    return raw


def _value(path: Path, raw: dict[str, Any], key: str) -> Any:
    value = raw[key]
    if key == "sources":
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ConfigurationError(f"{path}: {key} must be a list of strings")
    if type(value) is not int or value < 0:
        raise ConfigurationError(f"{path}: {key} must be a whole number")
    return value


def _load_corrupt(name: str) -> Dataset:
    images = tuple(cached_image(name, sample) for sample in corrupt_images())
    # Like a user's own folder: all of it arrives, it is not a supply to draw from.
    return Dataset(name, images, is_shipped=False)


def cached_image(folder: str, sample: CorruptImage) -> DatasetImage:
    """A file that is made, and not read from anywhere: it lies in ``folder`` of the cache's images."""
    path = cache_dir() / "images" / folder / sample.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != sample.data:
        path.write_bytes(sample.data)
    return DatasetImage(path, image_signature(sample.data), len(sample.data), sample.name)


def _load_folder(folder: Path, progress: Progress | None) -> Dataset:
    folder = folder.resolve()
    paths = sorted(path for path in _files(folder) if _claims_to_be_an_image(path))
    if not paths:
        raise ConfigurationError(
            f"{folder} has no image in it or below it (looked for .jpg, .png, .webp and the like, and at the "
            "first bytes of other files)"
        )
    if progress:
        progress(f"reading {len(paths)} images in {folder}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda path: _dataset_image(folder, path), paths))
    distinct = {image.image_signature: image for image in reversed(found)}  # of copies the first one stays
    images = tuple(image for image in found if distinct[image.image_signature] is image)
    return Dataset(str(folder), images, is_shipped=False)


def _files(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise ConfigurationError(f"{error.filename} can't be read: {error.strerror}") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent) / name for name in names if not name.startswith("."))


def _claims_to_be_an_image(path: Path) -> bool:
    if not path.is_file():  # a pipe, say, which would block whoever opens it
        return False
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(_MAGICS) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def _dataset_image(folder: Path, path: Path) -> DatasetImage:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(
                f"{path} is larger than {MAX_FILE_BYTES // 1024**2} MiB; move it elsewhere"
            )
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
    return DatasetImage(path, image_signature(data), len(data), path.relative_to(folder).as_posix())
