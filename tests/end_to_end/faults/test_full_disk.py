"""A disk that fills up in the midst of a run: one clear line, an exit code, and a run marked as failed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import orjson
import pytest

from tests.end_to_end.conftest import LKBENCH, wait_until

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]
SIZE_MIB = 2_300  # a run wants 2 GiB
LEFT_BYTES = 2**16
# In a mount namespace of its own; a user who is not root gets the right to mount in a user namespace.
UNSHARE = ["unshare", "--mount"]
if os.geteuid() != 0:
    UNSHARE += ["--map-current-user", "--keep-caps"]


def on_a_small_disk(folder: Path, argv: list[str]) -> list[str]:
    script = f'mount -t tmpfs -o size={SIZE_MIB}m tmpfs "$1" && shift && exec "$@"'
    return [*UNSHARE, "sh", "-c", script, "sh", str(folder), *argv]


def fill(disk: Path) -> None:
    """Take all of it but LEFT_BYTES. Asked anew where the run has written since the question."""
    with (disk / "filler").open("wb") as filler:
        for _ in range(100):
            try:
                return os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(disk).free - LEFT_BYTES)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    pytest.fail("the run takes all that is free before it can be taken from it")


def test_a_disk_that_fills_up_ends_the_run_with_a_clear_line(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(on_a_small_disk(tmp_path, ["true"])).returncode:
        pytest.skip("a tmpfs can't be mounted here, not even in a namespace: no disk to fill")
    options = ["--arms", "kappa", "--day", "60s", "--output", str(tmp_path)]
    run = subprocess.Popen(
        on_a_small_disk(tmp_path, [*LKBENCH, "run", *options]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        disk = Path(f"/proc/{run.pid}/root{tmp_path}")  # as the run sees it
        wait_until(lambda: list(disk.glob("*/arms/kappa-1/online_client.json")), 120, run)
        (manifest,) = disk.glob("*/manifest.json")
        keeper = os.open(manifest.parent, os.O_RDONLY)  # the disk goes with the last who knows it
        fill(disk)
        _, err = run.communicate(timeout=120)
        content = os.open("manifest.json", os.O_RDONLY, dir_fd=keeper)
        status = orjson.loads(os.read(content, 2**20))["status"]
        os.close(content)
        os.close(keeper)
    finally:
        run.kill()
        run.communicate()
    assert run.returncode == 3, err
    assert "is full" in err
    assert "Traceback" not in err
    assert status == "failed"
