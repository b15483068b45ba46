"""How a run ends before its time: its driver is killed, Ctrl-C, a service dies."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil
import pytest

from tests.end_to_end.conftest import StartRun, wait_until

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(300)]


def test_no_process_outlives_a_killed_driver(start_run: StartRun) -> None:
    run = start_run("--day", "30s")
    wait_until(lambda: run.online_available("lambda") > 20, 180, run.popen)
    assert len(run.processes()) >= 4
    own = psutil.Process(run.popen.pid).children(recursive=True)
    assert own
    os.kill(run.popen.pid, signal.SIGKILL)
    run.popen.communicate()
    wait_until(lambda: not any(p.is_running() and p.status() != "zombie" for p in own if p.is_running()), 10)
    wait_until(lambda: not run.processes(), 10)


def is_at_work(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(
            process.status() != psutil.STATUS_ZOMBIE
        )  # which what ended with its parent is for a while
    return False


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
