"""Step 5: the signals in delimited bytes with Protobuf-encoded values, one object per job.

The workers encode (:mod:`lambda_pipeline.offline.job_output`); the step itself checks that the outputs
account for the delta.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from lambda_pipeline.offline.job_output import HEAD_BYTES, read_tally
from signals.errors import PipelineError

if TYPE_CHECKING:
    from lambda_pipeline.offline.night import Night

READS_AT_A_TIME = 4


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Add the tallies up. Raises PipelineError unless every image of the delta is in exactly one place."""
    outputs = list(night.objects.list(f"{inputs['object_prefix']}/signals/"))
    with ThreadPoolExecutor(READS_AT_A_TIME) as threads:
        heads = threads.map(lambda key: night.objects.get_head(key, HEAD_BYTES), outputs)
        tallies = [read_tally(head) for head in heads]
    good = sum(tally.images for tally in tallies)
    dead = sum(tally.dead_letters for tally in tallies)
    if len(outputs) != inputs["jobs"] or good + dead != inputs["delta_images"]:
        raise PipelineError(
            f"{inputs['jobs']} jobs of {inputs['delta_images']} images left {len(outputs)} outputs, "
            f"with {good} images and {dead} dead letters"
        )
    return {"outputs": outputs, "images": good, "dead_letters": dead}
