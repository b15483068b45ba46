"""Step 9: GSS serves the day's signals. Nothing starts here; the step checks that it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lambda_pipeline.offline.night import Night
from signals.encodings import decode_thrift
from signals.errors import PipelineError
from signals.gss import GssClient
from signals.hive import read_partition
from signals.record import record_key

SAMPLES_PER_BATCH = 20
ROWS_PER_BATCH = 50_000  # which become Python objects at a time


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Ask GSS for every key of the day's partitions, and compare a sample of the values.

    Raises PipelineError when GSS lacks a key or answers with another value.
    """
    context = night.context
    served = 0
    with GssClient.of_run(context) as gss:
        for galaxy, path in inputs["partitions"].items():
            table = read_partition(path, ["image_signature", "signal", "version"])
            for batch in table.to_batches(max_chunksize=ROWS_PER_BATCH):
                keys = [
                    record_key(galaxy, row["signal"], row["version"], row["image_signature"])
                    for row in batch.to_pylist()
                ]
                _check(gss, galaxy, keys)
                served += len(keys)
    if served != inputs["uploaded_keys"]:
        raise PipelineError(f"{inputs['uploaded_keys']} keys were uploaded, {served} are in the partitions")
    return {"served_keys": served}


def _check(gss: GssClient, galaxy: str, keys: Sequence[bytes]) -> None:
    missing = len(keys) - sum(gss.contains(keys))
    if missing:
        raise PipelineError(f"GSS lacks {missing} of {len(keys)} keys of galaxy {galaxy}")
    sample = keys[:: max(1, len(keys) // SAMPLES_PER_BATCH)]
    for key, value in zip(sample, gss.multi_get(sample), strict=True):
        if value is None or decode_thrift(value).key != key:
            raise PipelineError(f"GSS answers wrongly for {key.decode()}")
