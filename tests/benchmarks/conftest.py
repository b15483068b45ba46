"""What the micro-benchmarks share: images of the shipped data set, engines, and servers of their own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from bench.images import load_dataset
from signals.catalog import Catalog, MediaConfig
from signals.compute import load_image
from signals.efficientnet import build_model
from signals.image import RgbImage
from signals.model import Model
from tests.integration.conftest import group, postgres, services_dir

__all__ = ["group", "postgres", "services_dir"]

SAMPLE = 64


class BesideBare(NamedTuple):
    """A batch size on one device, beside ONNX Runtime alone."""

    device: str
    batch: int
    images_per_second: float
    share: float


_BESIDE_BARE = pytest.StashKey[list[BesideBare]]()


@pytest.fixture(scope="session")
def beside_bare(pytestconfig: pytest.Config) -> list[BesideBare]:
    """What is printed at the end of the session."""
    return pytestconfig.stash.setdefault(_BESIDE_BARE, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if found := config.stash.get(_BESIDE_BARE, []):
        terminalreporter.section("inference beside ONNX Runtime alone, same device")
    for row in found:
        terminalreporter.write_line(
            f"{row.device}: batches of {row.batch}, {row.images_per_second:.1f} images/s, {row.share:.3f}"
        )


@pytest.fixture(scope="session")
def media() -> MediaConfig:
    return Catalog.load().pipeline("crawled").media


@pytest.fixture(scope="session")
def model_dir() -> Path:
    return build_model()


@pytest.fixture(scope="session")
def image_bytes() -> list[bytes]:
    """The same images at every commit."""
    return [image.path.read_bytes() for image in load_dataset("crops").images[:SAMPLE]]


@pytest.fixture(scope="session")
def tensors(image_bytes: list[bytes], media: MediaConfig, model_dir: Path) -> list[RgbImage]:
    manifest = Model.load(model_dir).manifest
    return [load_image(data, media, manifest) for data in image_bytes]
