"""The catalog: which pipelines bring media, what they may bring, and which galaxy keeps the signals."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signals.declaration import NAME_PATTERN
from signals.errors import ConfigurationError

FORMATS = ("jpeg", "png", "webp")
# Above this many pixels Pillow warns of a decompression bomb; nothing larger may be allowed in.
MAX_PIXELS_LIMIT = 89_000_000
MAX_BYTES_LIMIT = 1 << 30
_SHIPPED = Path(__file__).with_name("catalog.toml")


@dataclass(frozen=True, slots=True)
class MediaConfig:
    """What a pipeline accepts: image formats, size in bytes, width x height, and PinLater's priority."""

    formats: tuple[str, ...]  # of jpeg, png, webp; judged by content, never by name
    max_bytes: int
    max_pixels: int
    priority: int  # 1 (first) to 3

    @property
    def limits(self) -> tuple[frozenset[str], int, int]:
        """What decides the verdict of an image; equal for all pipelines of one galaxy."""
        return frozenset(self.formats), self.max_bytes, self.max_pixels


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """One source of media (a VIP namespace) and the galaxy that keeps its signals."""

    name: str
    galaxy: str
    media: MediaConfig


@dataclass(frozen=True, slots=True)
class Catalog:
    """All pipelines, by name, in the order of the file."""

    pipelines: dict[str, PipelineSpec]

    @classmethod
    def load(cls, path: str | Path = "") -> Catalog:
        """Read a catalog; ``""`` is the one that ships with the package. Raises ConfigurationError."""
        file = Path(path) if path else _SHIPPED
        try:
            raw = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigurationError(
                f"the catalog {file} can't be read: {error.strerror or error}"
            ) from error
        except ValueError as error:  # not TOML, or not UTF-8
            raise ConfigurationError(f"the catalog {file} is not valid TOML: {error}") from error
        try:
            return _parse(raw)
        except ConfigurationError as error:
            raise ConfigurationError(f"the catalog {file}: {error}") from error

    @property
    def galaxies(self) -> tuple[str, ...]:
        """The galaxies that the pipelines map to, each once, in the order of the file."""
        return tuple(dict.fromkeys(spec.galaxy for spec in self.pipelines.values()))

    def pipeline(self, name: str) -> PipelineSpec:
        """The pipeline called ``name``. Raises ConfigurationError when there is none."""
        try:
            return self.pipelines[name]
        except KeyError:
            known = ", ".join(self.pipelines)
            raise ConfigurationError(f"there is no pipeline {name!r}; the catalog has {known}") from None

    def media(self, galaxy: str) -> MediaConfig:
        """The limits of a galaxy (the same for all its pipelines). Raises ConfigurationError."""
        for spec in self.pipelines.values():
            if spec.galaxy == galaxy:
                return spec.media
        raise ConfigurationError(f"there is no galaxy {galaxy!r}; the catalog has {', '.join(self.galaxies)}")


def shipped_catalog(name: str) -> Path:
    """The file of a catalog that ships beside the default one, by name. Raises ConfigurationError."""
    files = {path.stem.removeprefix("catalog-"): path for path in _SHIPPED.parent.glob("catalog-*.toml")}
    try:
        return files[name]
    except KeyError:
        raise ConfigurationError(
            f"no catalog is called {name!r}; there are {', '.join(sorted(files))}; or give a .toml file"
        ) from None


def _parse(raw: dict[str, Any]) -> Catalog:
    _check_keys(raw, {"pipelines"}, "at the top level")
    if not isinstance(raw["pipelines"], dict) or not raw["pipelines"]:
        raise ConfigurationError("[pipelines.NAME] must define at least one pipeline")
    pipelines = {name: _parse_pipeline(name, table) for name, table in raw["pipelines"].items()}
    first: dict[str, PipelineSpec] = {}
    for spec in pipelines.values():
        other = first.setdefault(spec.galaxy, spec)
        if spec.media.limits != other.media.limits:
            raise ConfigurationError(
                f"pipelines {other.name} and {spec.name} feed galaxy {spec.galaxy} with different formats or "
                "limits; an image's verdict must not depend on which of them brought it"
            )
    return Catalog(pipelines)


def _parse_pipeline(name: str, table: object) -> PipelineSpec:
    where = f"in pipelines.{name}"
    if not isinstance(table, dict):
        raise ConfigurationError(f"pipelines.{name} must be a table")
    _check_keys(table, {"galaxy", "formats", "max_bytes", "max_pixels", "priority"}, where)
    for value in (name, table["galaxy"]):
        if not isinstance(value, str) or not NAME_PATTERN.fullmatch(value):
            raise ConfigurationError(
                f"the name {value!r} {where} must be lower case letters, digits and underscores"
            )
    formats = table["formats"]
    if not isinstance(formats, list) or not formats or not all(item in FORMATS for item in formats):
        raise ConfigurationError(f"formats {where} must be a list of {', '.join(FORMATS)}")
    return PipelineSpec(
        name,
        table["galaxy"],
        MediaConfig(
            formats=tuple(formats),
            max_bytes=_integer(table, "max_bytes", 1, MAX_BYTES_LIMIT, where),
            max_pixels=_integer(table, "max_pixels", 1, MAX_PIXELS_LIMIT, where),
            priority=_integer(table, "priority", 1, 3, where),
        ),
    )


def _check_keys(table: Mapping[str, Any], expected: set[str], where: str) -> None:
    if unknown := sorted(table.keys() - expected):
        raise ConfigurationError(
            f"unknown key {', '.join(unknown)} {where}; known: {', '.join(sorted(expected))}"
        )
    if missing := sorted(expected - table.keys()):
        raise ConfigurationError(f"missing key {', '.join(missing)} {where}")


def _integer(table: Mapping[str, Any], key: str, low: int, high: int, where: str) -> int:
    value = table[key]
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigurationError(f"{key} {where} must be a whole number from {low} to {high}, not {value!r}")
    return value
