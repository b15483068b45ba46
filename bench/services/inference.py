"""Starts inference services that belong to no run, for runs to use as external ones."""

from __future__ import annotations

import secrets
import sys
from importlib.metadata import entry_points
from pathlib import Path

from bench.config import InferenceConfig
from bench.services.rpc import started_endpoint
from signals.architecture import RpcEndpoint
from signals.errors import MissingRequirement
from signals.process import ProcessGroup
from signals.whole_file import replace_secret

GROUP = "lkbench.servers"  # modules that run as programs; "inference" takes the options below
NAME = "inference"


def start_inference(
    group: ProcessGroup, folder: Path, model_dir: Path, config: InferenceConfig, services: int = 1
) -> tuple[RpcEndpoint, ...]:
    """Start ``services`` of them with a warm model, which share the workers of ``config``, at least one each.
    Each is started again, at the same port, when it dies.

    Raises ServiceError, naming its log, when one does not come up, and MissingRequirement.
    """
    folder.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    token_file = replace_secret(folder / "inference.token", token)
    workers = max(1, config.workers // services)
    starting = []
    for number in range(services):
        ready_file = folder / f"inference-{number}.ready"
        options: dict[str, object] = {
            "model": model_dir,
            "device": config.device,
            "workers": workers,
            "first-device": number * workers,
            "max-batch": config.max_batch,
            "max-batch-wait-seconds": config.max_batch_wait_seconds,
            "ready-file": ready_file,
            "token-file": token_file,
        }
        argv = [sys.executable, "-m", _module()]
        for name, value in options.items():
            argv += [f"--{name}", str(value)]
        starting.append((group.start(f"{NAME}-{number}", argv, restart=True), ready_file))
    return tuple(started_endpoint(group, child, ready_file, token) for child, ready_file in starting)


def _module() -> str:
    for point in entry_points(group=GROUP):
        if point.name == NAME:
            return point.value
    raise MissingRequirement(f"no installed package has a server {NAME!r} in the entry point group {GROUP}")
