"""The nightly workflow: steps 1 to 9, each started only when the one before is complete.

``python -m lambda_pipeline.offline.workflow --context FILE --day N`` runs the night of day N in a process
and a Spark session of its own.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lambda_pipeline.child import context_argument, exit_with
from lambda_pipeline.media_log import media_log_dir, sealed_file
from lambda_pipeline.offline import (
    step1_delta,
    step2_enqueue,
    step3_pool,
    step4_infer,
    step5_protobuf,
    step6_thrift,
    step7_hive,
    step8_upload,
    step9_serve,
)
from lambda_pipeline.offline.graph import Step, StepRecord, Workflow
from lambda_pipeline.offline.night import Night
from lambda_pipeline.offline.record import write_record
from signals.architecture import RunContext
from signals.errors import PipelineError
from signals.ledger import Ledger, Stage


def _start_spark(night: Night, _inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"spark_version": night.start_spark().version}


def nightly_workflow() -> Workflow[Night]:
    """The graph. What a step needs and gives is named here, in one place."""
    return Workflow(
        [
            Step("spark_session", _start_spark, outputs=("spark_version",)),
            Step(
                "step1_delta",
                step1_delta.run,
                depends_on=("spark_session",),
                inputs=("media_log",),
                outputs=("delta", "delta_images"),
            ),
            Step(
                "step2_enqueue",
                step2_enqueue.run,
                depends_on=("step1_delta",),
                inputs=("delta",),
                outputs=("jobs", "object_prefix"),
            ),
            Step(
                "step3_pool",
                step3_pool.run,
                depends_on=("step2_enqueue",),
                inputs=("jobs",),
                outputs=("pool_pids",),
            ),
            Step(
                "step4_infer",
                step4_infer.run,
                depends_on=("step3_pool",),
                inputs=("object_prefix",),
                outputs=("dead_jobs",),
            ),
            Step(
                "step5_protobuf",
                step5_protobuf.run,
                depends_on=("step4_infer",),
                inputs=("object_prefix", "jobs", "delta_images"),
                outputs=("outputs", "images", "dead_letters"),
            ),
            Step(
                "step6_thrift",
                step6_thrift.run,
                depends_on=("step5_protobuf",),
                inputs=("outputs",),
                outputs=("thrift", "galaxies"),
            ),
            Step(
                "step7_hive",
                step7_hive.run,
                depends_on=("step6_thrift",),
                inputs=("thrift", "galaxies", "images"),
                outputs=("partitions", "rows"),
            ),
            Step(
                "step8_upload",
                step8_upload.run,
                depends_on=("step7_hive",),
                inputs=("partitions", "rows"),
                outputs=("sst_files", "uploaded_keys"),
            ),
            Step(
                "step9_serve",
                step9_serve.run,
                depends_on=("step8_upload",),
                inputs=("partitions", "uploaded_keys"),
                outputs=("served_keys",),
            ),
        ],
        given=("media_log",),
    )


def run_night(context: RunContext, context_path: Path, day: int) -> list[StepRecord]:
    """Run the night of ``day``. Raises PipelineError naming the step that failed."""
    media_log = sealed_file(media_log_dir(context.arm_dir), day)
    if not media_log.exists():
        raise PipelineError(f"the media log of day {day} is not sealed: {media_log}")
    with Ledger.from_context(context, "nightly_workflow") as ledger:

        def on_change(records: list[StepRecord]) -> None:
            write_record(context.arm_dir, day, records)
            if records[-1].outcome != "running":
                _record_step(ledger, records[-1], day)

        with Night(context, context_path, day, ledger) as night:
            return nightly_workflow().run(night, {"media_log": str(media_log)}, on_change)


def _record_step(ledger: Ledger, record: StepRecord, day: int) -> None:
    ledger.record(
        Stage.STEP,
        start_ns=record.start_ns,
        end_ns=record.end_ns,
        path="nightly",
        day=day,
        outcome=record.outcome,
        detail=record.name,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    context_argument(parser)
    parser.add_argument("--day", type=int, required=True)
    arguments = parser.parse_args()
    # SIGTERM unwinds whatever step is running: the pool and the JVM are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def body() -> None:
        run_night(RunContext.load(arguments.context), arguments.context, arguments.day)

    exit_with(body)


if __name__ == "__main__":
    main()
