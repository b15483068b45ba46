"""Starts a Galaxy Signal Service, or checks an external one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from bench.services.rpc import started_endpoint
from signals.architecture import RpcEndpoint, RunContext
from signals.errors import ConfigurationError, ServiceError
from signals.gss import GssClient
from signals.process import ProcessGroup
from signals.whole_file import replace_secret


def start_gss(group: ProcessGroup, folder: Path, token: str) -> RpcEndpoint:
    """Start GSS with its Rockstores in ``folder`` and wait until it serves.

    Raises ServiceError, naming its log, when it does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    token_file = replace_secret(folder / "gss.token", token)
    ready_file = folder / "gss.ready"
    ready_file.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "signals.gss", "--data", str(folder / "rockstore")]
    argv += ["--ready-file", str(ready_file), "--token-file", str(token_file)]
    return started_endpoint(group, group.start("gss", argv), ready_file, token)


def check_files_are_shared(context: RunContext) -> None:
    """Have an external GSS write a checkpoint where the nightly work of this replicate will want one.

    Raises ConfigurationError where it can't, or where what it wrote is not seen here.
    """
    probe = context.arm_dir / "gss-probe"
    problem = "it wrote a checkpoint that is not seen here"
    with GssClient.of_run(context) as gss:
        try:
            gss.checkpoint(probe)
        except ServiceError as error:
            problem = str(error)
    if not probe.is_dir():
        raise ConfigurationError(
            f"GSS at {context.gss.address} does not share the folder {context.arm_dir}: {problem}; [gss] "
            "needs a server that can write there under the same path"
        )
    shutil.rmtree(probe)
