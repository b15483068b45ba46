"""Fills a store with signals that no stream computed, for dumps larger than a stream would make."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.throughput.stand import Progress, Stand, StartedArm, arrival_signature
from signals.catalog import Catalog
from signals.compute import load_image, records_of
from signals.encodings import encode_thrift
from signals.errors import ImageError
from signals.gss import GssClient
from signals.inference import InferenceEngine, SignalValues, signal_values
from signals.model import Model

PATTERNS = 64  # images whose values repeat


def fill(
    stand: Stand,
    started: StartedArm,
    model_dir: Path,
    signals: int,
    first_day_share: float,
    progress: Progress,
) -> tuple[int, int]:
    """Write at least ``signals`` records, in no order of their keys, through GSS. Returns the signals of
    day 0 and of day 1. Raises ServiceError."""
    values = _values(stand, model_dir)
    per_image = len(values[0])
    images = -(-signals // per_image)
    first_day = round(images * first_day_share)
    model_sha256 = Model.load(model_dir).manifest.sha256

    def items() -> Iterator[tuple[bytes, bytes]]:
        for number in range(images):
            records = records_of(
                values[number % len(values)],
                image_signature=arrival_signature(number),
                galaxy=stand.galaxy,
                pipeline=stand.pipeline,
                day=int(number >= first_day),
                model_sha256=model_sha256,
            )
            for record in records:
                yield record.key, encode_thrift(record)
            if number and number % 100_000 == 0:
                progress(f"{number * per_image} of {signals} signals are stored")

    with GssClient.of_run(started.context) as gss:
        gss.put(items())
    return first_day * per_image, (images - first_day) * per_image


def _values(stand: Stand, model_dir: Path) -> list[SignalValues]:
    engine = InferenceEngine(Model.load(model_dir))
    media = Catalog.load(stand.config.catalog).pipeline(stand.pipeline).media
    paths = [image.path for image in stand.dataset.images[:PATTERNS]]
    tensors = [load_image(path.read_bytes(), media, engine.model.manifest) for path in paths]
    found = signal_values(engine.run(np.stack(tensors)), stand.galaxy)
    return [values for values in found if not isinstance(values, ImageError)]
