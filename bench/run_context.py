"""What an arm is told of the servers and the configuration, wherever it is started."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bench.config import HarnessConfig
from bench.services.class_archive import with_class_archive
from bench.services.gss import check_files_are_shared, start_gss
from bench.services.stack import Endpoints
from signals.architecture import RpcEndpoint, RunContext
from signals.process import ProcessGroup


def run_context(
    endpoints: Endpoints,
    config: HarnessConfig,
    *,
    arm: str,
    replicate: int,
    suffix: str,
    run_dir: Path,
    arm_dir: Path,
    model_dir: Path,
    day_seconds: float,
) -> RunContext:
    """The context of one arm on servers that are up.

    Its namespace is that of ``endpoints`` and ``suffix`` (``[a-z0-9_]*``), so that what the arm makes on
    external servers is removed with the rest. A GSS or an inference service that the configuration does not
    name is still to be started: see :func:`with_gss`.
    """
    inference = config.inference
    return RunContext(
        run_id=run_dir.name,
        arm=arm,
        replicate=replicate,
        namespace=f"{endpoints.namespace}_{suffix}",
        run_dir=run_dir,
        arm_dir=arm_dir,
        kafka_bootstrap=endpoints.kafka_bootstrap,
        kafka_options=endpoints.kafka_options,
        s3=endpoints.s3,
        postgres_dsn=endpoints.postgres_dsn,
        metastore_dsn=endpoints.metastore_dsn,
        jdbc_jar=str(endpoints.jdbc_jar),
        spark_master=endpoints.spark_master,
        spark_conf=with_class_archive(endpoints.spark_conf),
        gss=endpoints.gss or RpcEndpoint.to_be_started(),
        inference=next(iter(endpoints.inference), RpcEndpoint.to_be_started()),
        more_inference=endpoints.inference[1:],
        day_seconds=day_seconds,
        model_dir=model_dir,
        catalog_path=config.catalog,
        device=inference.device,
        workers=inference.workers,
        stream_workers=config.services.stream_workers,
        max_batch=inference.max_batch,
        max_batch_wait_seconds=inference.max_batch_wait_seconds,
    )


def with_gss(context: RunContext, group: ProcessGroup) -> RunContext:
    """The same with a GSS that serves: one with a fresh Rockstore, started in ``group``, or the external one.

    Raises ServiceError, or ConfigurationError where the external one does not share the folder of the arm.
    """
    if context.gss.is_up:
        check_files_are_shared(context)
        return context
    return dataclasses.replace(context, gss=start_gss(group, context.arm_dir, context.gss.token))
