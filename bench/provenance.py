"""What a result was made from: what two runs must share to be compared, and where the figures come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from bench.images import Dataset
from bench.workload import Schedule

# Of the manifest, as it is.
_COPIED = (
    "started",
    "seed",
    "profile",
    "workload",
    "dataset",
    "schedule_sha256",
    "days",
    "rate_per_second",
    "load_share",
    "capacity",
    "late",
    "poisoned_images",
    "arrivals",
    "distinct_images",
    "device",
    "workers",
    "model",
    "signals",
    "machine",
    "versions",
    "commit",
)


def provenance(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The section of ``result.json``, from the manifest; what a manifest does not say is null."""
    config = orjson.dumps(manifest.get("config"), option=orjson.OPT_SORT_KEYS, default=str)
    return {
        **{name: manifest.get(name) for name in _COPIED},
        "config_sha256": hashlib.sha256(config).hexdigest(),
    }


def schedule_fingerprint(schedule: Schedule, dataset: Dataset) -> str:
    """sha256 of what is offered: when, how late, which image, through which pipeline."""
    digest = hashlib.sha256(repr((schedule.day_seconds, schedule.pipelines)).encode())
    for column in (schedule.offset_ns, schedule.lateness_ns, schedule.day, schedule.image, schedule.pipeline):
        digest.update(column.tobytes())
    for image in dataset.images:
        digest.update(image.image_signature.encode())
    return digest.hexdigest()
