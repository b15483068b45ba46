"""Starts the Galaxy Signal Service of one arm and replicate."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.services.startup import write_secret
from signals.errors import ServiceError
from signals.process import ProcessGroup

START_TIMEOUT_SECONDS = 60.0


def start_gss(group: ProcessGroup, arm_dir: Path, token: str) -> tuple[str, int]:
    """Start GSS over a Rockstore in ``arm_dir`` and wait until it serves. Returns its host and port.

    Raises ServiceError, naming its log, when it does not come up.
    """
    arm_dir.mkdir(parents=True, exist_ok=True)
    token_file = write_secret(arm_dir / "gss.token", token)
    ready_file = arm_dir / "gss.ready"
    ready_file.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "signals.gss", "--data", str(arm_dir / "rockstore")]
    argv += ["--ready-file", str(ready_file), "--token-file", str(token_file)]
    child = group.start("gss", argv)
    address = group.wait_for_file(child, ready_file, START_TIMEOUT_SECONDS)
    host, port = address.get("host"), address.get("port")
    if not isinstance(host, str) or not isinstance(port, int):
        raise ServiceError(f"gss wrote no address into {ready_file}; its log is {child.log}")
    return host, port
