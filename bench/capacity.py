"""What this machine can infer at all: the bare loop over a run's own images, without any architecture.

A load is stated as a share of this rate (``--load 0.5``), so that the same share means the same pressure on
another machine, with another model or with larger images. It is an upper bound: an arm fetches, stores and
publishes besides.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from bench.config import HarnessConfig
from bench.images import Dataset, DatasetImage
from bench.limit.loop import BareLoop
from bench.limit.measure import median, usual_layout
from bench.limit.staged import material, most_generous
from bench.limit.worker import Work
from signals.catalog import Catalog, MediaConfig
from signals.errors import ConfigurationError, ImageError
from signals.image import decode_image

WINDOWS = 5
WINDOW_SECONDS = 0.5
SAMPLE_IMAGES = 64
SAMPLE_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Capacity:
    """A measured capacity: medians over ``windows`` of all processes together.

    ``spread``: (largest - smallest) / median of the windows' rates; how steady the machine was.
    """

    images_per_second: float
    core_milliseconds_per_image: float  # CPU time of the processes
    spread: float
    workers: int
    max_batch: int
    device: str  # cpu or cuda
    windows: int
    window_seconds: float


def measure_capacity(
    config: HarnessConfig,
    dataset: Dataset,
    model_dir: Path,
    *,
    windows: int = WINDOWS,
    window_seconds: float = WINDOW_SECONDS,
) -> Capacity:
    """Decode, preprocess and infer images of ``dataset`` for ``windows`` windows, after one more to warm up.

    In as many processes as a pool of ``config`` has devices, with one inference thread each: image by image
    on a CPU, as the pools do, in batches of the configured size on a GPU. The images are a sample spread
    evenly over the data set, less those that can't be decoded; their bytes are in memory. Raises
    ConfigurationError when no image of the sample can be decoded or the model can't be used,
    MissingRequirement for a device that is not there, ServiceError when a process dies.
    """
    inference = config.inference
    layout = usual_layout(inference, ahead=False)  # bytes in memory: there is no store to wait for
    with BareLoop(material(config, _sample(config, dataset), model_dir), layout) as loop:
        taken = [loop.window(Work.MEMORY, window_seconds) for _ in range(1 + windows)]
    measured = median(taken[1:])
    return Capacity(
        images_per_second=measured.images_per_second,
        core_milliseconds_per_image=measured.core_ms_per_image,
        spread=measured.spread,
        workers=inference.workers,
        max_batch=inference.max_batch,
        device=inference.device,
        windows=windows,
        window_seconds=window_seconds,
    )


def _sample(config: HarnessConfig, dataset: Dataset) -> Dataset:
    """Images that can be decoded, at least one for each process and not more than fit into memory."""
    step = max(1, len(dataset.images) // SAMPLE_IMAGES)
    candidates = dataset.images[::step][:SAMPLE_IMAGES]
    media = most_generous(Catalog.load(config.catalog)).media
    sample: list[DatasetImage] = []
    size_bytes = 0
    for image in candidates:
        size_bytes += image.size_bytes
        if sample and size_bytes > SAMPLE_BYTES:
            break
        if _decodes(image, media):
            sample.append(image)
    if not sample:
        raise ConfigurationError(
            f"the inference capacity can't be measured: none of {len(candidates)} images tried of "
            f"{dataset.name} can be decoded"
        )
    repeats = -(-config.inference.workers // len(sample))
    return dataclasses.replace(dataset, images=tuple(sample) * repeats)


def _decodes(image: DatasetImage, media: MediaConfig) -> bool:
    try:
        decode_image(image.path.read_bytes(), media)
    except ImageError:
        return False
    return True
