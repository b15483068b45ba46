"""How a run ends that can't go on: driver killed, Ctrl-C, a service that dies, a full disk, bad input.

One file, as the other of this folder takes as long, and two are run at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from pathlib import Path

import orjson
import psutil
import pytest

from tests.end_to_end.conftest import LKBENCH, StartRun, lkbench, wait_until

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]
SIZE_MIB = 2_300  # a run wants 2 GiB
LEFT_BYTES = 2**16
# In a mount namespace of its own; a user who is not root gets the right to mount in a user namespace.
UNSHARE = ["unshare", "--mount"]
if os.geteuid() != 0:
    UNSHARE += ["--map-current-user", "--keep-caps"]


def is_at_work(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        # What ended with its parent is a zombie for a while.
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def test_no_process_outlives_a_killed_driver(start_run: StartRun) -> None:
    run = start_run("--day", "30s")
    wait_until(lambda: run.online_available("lambda") > 20, 180, run.popen)
    assert len(run.processes()) >= 4
    own = psutil.Process(run.popen.pid).children(recursive=True)
    assert own
    os.kill(run.popen.pid, signal.SIGKILL)
    run.popen.communicate()
    wait_until(lambda: not any(is_at_work(process) for process in own), 10)
    wait_until(lambda: not run.processes(), 10)
    report = lkbench("report", str(run.run_dir))
    assert report.returncode == 2
    assert "it was killed" in report.stderr


def test_ctrl_c_stops_everything_and_marks_the_run_as_aborted(start_run: StartRun) -> None:
    run = start_run("--day", "30s")
    wait_until(lambda: run.online_available("lambda") > 20, 180, run.popen)
    own = psutil.Process(run.popen.pid).children(recursive=True)
    run.popen.send_signal(signal.SIGINT)
    _, err = run.wait(60)
    assert run.popen.returncode == 130, err
    assert run.manifest()["status"] == "aborted"
    wait_until(lambda: not any(is_at_work(process) for process in own), 5)
    assert (run.run_dir / "ledger" / "events.parquet").exists()


def test_a_dying_service_fails_the_run_and_names_itself(start_run: StartRun) -> None:
    run = start_run("--day", "30s")
    wait_until(lambda: run.online_available("lambda") > 20, 180, run.popen)
    run.processes("kafka.Kafka")[0].kill()
    _, err = run.wait(90)
    assert run.popen.returncode == 4, err
    assert "kafka" in err
    assert ".log" in err
    assert run.manifest()["status"] == "failed"


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


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--images", "{empty}"], 2, "image"),
        (["--images", "no-such-data-set"], 2, "crops"),
        (["--arms", "lambda,zeta"], 2, "kappa"),
        (["--workload", "none"], 2, "mixed"),
        (["--day", "soon"], 2, "30s"),
        (["--config", "{missing}"], 2, "missing.toml"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path: Path, options: list[str], code: int, message: str) -> None:
    (tmp_path / "empty").mkdir()
    filled = [o.format(empty=tmp_path / "empty", missing=tmp_path / "missing.toml") for o in options]
    done = lkbench("run", "--output", str(tmp_path / "runs"), *filled)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
