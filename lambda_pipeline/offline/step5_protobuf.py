"""Step 5: the signals in delimited bytes with Protobuf-encoded values, one object per job.

The workers encode (:func:`write_output`); the step itself checks that the outputs account for the delta.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson

from signals.architecture import DeadLetter
from signals.encodings import write_delimited
from signals.errors import PipelineError
from signals.object_store import ObjectStore
from signals.record import SignalRecord

if TYPE_CHECKING:
    from lambda_pipeline.offline.night import Night

MAX_TALLY_BYTES = 1 << 20
READS_AT_A_TIME = 4


def output_key(prefix: str, images: Sequence[Mapping[str, str]]) -> str:
    """Where a job's signals go. It depends on the job's content alone: a repeated job overwrites."""
    return f"{prefix}/signals/{_content_hash(images)}.pb"


def tally_key(prefix: str, images: Sequence[Mapping[str, str]]) -> str:
    """Where a job says how many images became signals, and which could not."""
    return f"{prefix}/tally/{_content_hash(images)}.json"


def encode_output(records: Sequence[SignalRecord]) -> bytes:
    """The records of a job, each with its length (varint) before it; b"" for none."""
    stream = io.BytesIO()
    write_delimited(stream, records)
    return stream.getvalue()


def encode_tally(images: int, letters: Sequence[DeadLetter]) -> bytes:
    """How many of a job's images became signals, and the dead letters of the others. JSON."""
    return orjson.dumps({"images": images, "dead_letters": letters})


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Add the tallies up. Raises PipelineError unless every image of the delta is in exactly one place."""
    prefix = inputs["object_prefix"]
    store = ObjectStore(night.context.s3)
    try:
        with ThreadPoolExecutor(READS_AT_A_TIME) as threads:
            keys = store.list(f"{prefix}/tally/")
            tallies = [orjson.loads(t) for t in threads.map(lambda k: store.get(k, MAX_TALLY_BYTES), keys)]
        outputs = list(store.list(f"{prefix}/signals/"))
    finally:
        store.close()
    good = sum(tally["images"] for tally in tallies)
    dead = sum(len(tally["dead_letters"]) for tally in tallies)
    if len(outputs) != inputs["jobs"] or good + dead != inputs["delta_images"]:
        raise PipelineError(
            f"{inputs['jobs']} jobs of {inputs['delta_images']} images left {len(outputs)} outputs, "
            f"with {good} images and {dead} dead letters"
        )
    return {"outputs": outputs, "images": good, "dead_letters": dead}


def _content_hash(images: Sequence[Mapping[str, str]]) -> str:
    content = "\n".join(f"{image['galaxy']}/{image['image_signature']}" for image in images)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
