"""Starts an inference service that belongs to no run, for runs to use as an external one."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

from bench.config import InferenceConfig
from bench.services.rpc import started_endpoint
from bench.services.startup import write_secret
from signals.architecture import RpcEndpoint
from signals.errors import MissingRequirement
from signals.process import ProcessGroup

GROUP = "lkbench.servers"  # modules that run as programs; "inference" takes the options below
NAME = "inference"


def start_inference(
    group: ProcessGroup, folder: Path, model_dir: Path, config: InferenceConfig, token: str
) -> RpcEndpoint:
    """Start the service with a warm model. It is started again, at the same port, when it dies.

    Raises ServiceError, naming its log, when it does not come up, and MissingRequirement.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ready_file = folder / "inference.ready"
    options: dict[str, object] = {
        "model": model_dir,
        "device": config.device,
        "workers": config.workers,
        "max-batch": config.max_batch,
        "max-batch-wait-seconds": config.max_batch_wait_seconds,
        "ready-file": ready_file,
        "token-file": write_secret(folder / "inference.token", token),
    }
    argv = [sys.executable, "-m", _module()]
    for name, value in options.items():
        argv += [f"--{name}", str(value)]
    return started_endpoint(group, group.start(NAME, argv, restart=True), ready_file, token)


def _module() -> str:
    for point in entry_points(group=GROUP):
        if point.name == NAME:
            return point.value
    raise MissingRequirement(f"no installed package has a server {NAME!r} in the entry point group {GROUP}")
