"""Images in an object store that the harness starts, for loops to fetch."""

from __future__ import annotations

import collections
import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.config import HarnessConfig
from bench.images import Dataset, DatasetImage
from bench.limit.worker import Material
from bench.services.s3proxy import S3ProxyServer
from signals.architecture import S3Endpoint
from signals.catalog import Catalog, PipelineSpec
from signals.object_store import ObjectStore
from signals.process import ProcessGroup

STAGING_THREADS = 8


@dataclass(frozen=True, slots=True)
class Staged:
    """``watched``: process ids of the servers whose CPU time a GET costs."""

    material: Material
    watched: tuple[int, ...]


@contextlib.contextmanager
def staged(config: HarnessConfig, dataset: Dataset, model_dir: Path) -> Iterator[Staged]:
    """An S3 endpoint that holds the images of ``dataset``. Its data is removed at the end. Raises
    ServiceError or MissingRequirement."""
    folder = Path(tempfile.mkdtemp(prefix="lkbench-limit-"))
    try:
        with ProcessGroup(folder / "logs") as group:
            endpoint = S3ProxyServer(group, folder / "s3proxy").start("limit")
            keys = stage(endpoint, "limit", dataset.images)
            watched = tuple(child.pid for child in group.children)
            yield Staged(material(config, dataset, model_dir, endpoint, keys), watched)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stage(endpoint: S3Endpoint, namespace: str, images: Sequence[DatasetImage]) -> list[str]:
    """Put the images below ``namespace`` and return their keys, in order. Raises ServiceError."""
    keys = [f"{namespace}/images/{image.image_signature}" for image in images]
    with ObjectStore(endpoint) as store, ThreadPoolExecutor(STAGING_THREADS) as pool:
        puts = pool.map(lambda key, image: store.put(key, image.path.read_bytes()), keys, images)
        collections.deque(puts, maxlen=0)  # raises the first error
    return keys


def material(
    config: HarnessConfig,
    dataset: Dataset,
    model_dir: Path,
    endpoint: S3Endpoint | None = None,
    keys: Sequence[str] = (),
) -> Material:
    """What a loop over ``dataset`` works on, decoding as the catalog's most generous pipeline allows."""
    return Material(
        model_dir=model_dir,
        device=config.inference.device,
        paths=tuple(image.path for image in dataset.images),
        pipeline=most_generous(Catalog.load(config.catalog)).name,
        catalog_path=config.catalog,
        s3=endpoint,
        keys=tuple(keys),
    )


def most_generous(catalog: Catalog) -> PipelineSpec:
    """The pipeline that accepts most: more formats first, then more pixels."""
    specs = catalog.pipelines.values()
    return max(specs, key=lambda spec: (len(spec.media.formats), spec.media.max_pixels))
