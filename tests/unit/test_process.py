from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from signals.errors import ServiceError
from signals.process import ProcessGroup, write_ready_file

PYTHON = [sys.executable, "-S", "-E", "-c"]
SLEEP = [*PYTHON, "import time; time.sleep(600)"]


def wait_until(condition, timeout_seconds: float = 10.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true"
        time.sleep(0.02)


def has_ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_child_that_dies_is_named_with_its_log(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        child = group.start("broker", [*PYTHON, "print('disk on fire'); raise SystemExit(3)"])
        child.popen.wait()
        with pytest.raises(
            ServiceError, match=r"broker ended with code 3(.|\n)*broker.log(.|\n)*disk on fire"
        ):
            group.check()


def test_ready_file_hands_over_its_content(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    code = f"open({str(ready)!r}, 'w').write('{{\"port\": 7}}'); import time; time.sleep(600)"
    with ProcessGroup(tmp_path) as group:
        child = group.start("server", [*PYTHON, code])
        assert group.wait_for_file(child, ready, 10) == {"port": 7}
    assert child.popen.poll() is not None


def test_waiting_for_a_child_that_dies_says_so(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        child = group.start("server", [*PYTHON, "raise SystemExit('no port')"])
        with pytest.raises(ServiceError, match=r"server ended(.|\n)*no port"):
            group.wait_for_file(child, tmp_path / "never", 10)


def test_a_worker_that_never_comes_up_is_given_up(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        child = group.start("worker", [*PYTHON, "raise SystemExit('no device')"], restart=True)
        with pytest.raises(ServiceError, match=r"worker died 2 times before it was ready(.|\n)*no device"):
            group.wait_for_file(child, tmp_path / "never", 20)


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        child = group.start("slow", SLEEP)
        with pytest.raises(ServiceError, match="slow was not ready"):
            group.wait_for_file(child, tmp_path / "never", 0.1)


def test_a_worker_is_restarted_and_counted(tmp_path: Path) -> None:
    seen: list[str] = []
    with ProcessGroup(tmp_path, on_restart=lambda child: seen.append(child.name)) as group:
        child = group.start("worker", SLEEP, restart=True)
        first = child.pid
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: child.pid != first)
        group.check()
        wait_until(lambda: seen == ["worker"])
        assert child.restarts == 1
        last = child.pid
    assert not psutil.pid_exists(last)


def test_a_restart_that_fails_is_tried_again_and_counts_when_it_has_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProcessGroup, "MAX_FAILED_STARTS", 0)
    seen: list[str] = []
    folder = tmp_path / "folder"
    folder.mkdir()
    with ProcessGroup(tmp_path, on_restart=lambda child: seen.append(child.name)) as group:
        homeless = group.start("homeless", SLEEP, cwd=folder, restart=True)
        other = group.start("other", SLEEP, restart=True)
        folder.rmdir()
        for child in (homeless, other):
            os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: seen == ["other"])
        assert (homeless.restarts, other.restarts) == (0, 1)
        with pytest.raises(ServiceError, match=r"homeless can't be started again(.|\n)*could not be started"):
            group.check()
        folder.mkdir()
        wait_until(lambda: seen == ["other", "homeless"])
        assert (homeless.restarts, other.restarts) == (1, 1)
        group.check()


def test_a_worker_that_keeps_dying_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessGroup, "MAX_RESTARTS", 1)
    seen: list[int] = []
    with ProcessGroup(tmp_path, on_restart=lambda child: seen.append(child.restarts)) as group:
        child = group.start("worker", [*PYTHON, "raise SystemExit(3)"], restart=True)
        wait_until(lambda: not child.restart)
        with pytest.raises(ServiceError, match="worker ended with code 3 after 1 restart"):
            group.check()
    assert seen == [1]


def test_a_stopped_child_is_not_restarted_nor_reported(tmp_path: Path) -> None:
    with ProcessGroup(tmp_path) as group:
        child = group.start("worker", SLEEP, restart=True)
        group.stop_child(child)
        time.sleep(0.3)
        assert child.popen.poll() is not None
        group.check()


def test_a_child_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(inner.pid, flush=True)
        time.sleep(600)
    """)
    group = ProcessGroup(tmp_path)
    child = group.start("stubborn", [*PYTHON, code])
    wait_until(lambda: child.log.read_text().strip().isdigit())
    inner = int(child.log.read_text())
    group.stop(timeout_seconds=0.3)
    assert child.popen.poll() == -signal.SIGKILL
    wait_until(lambda: has_ended(inner))


def test_nothing_starts_after_stop(tmp_path: Path) -> None:
    group = ProcessGroup(tmp_path)
    group.stop()
    with pytest.raises(ServiceError, match="late is not started"):
        group.start("late", SLEEP)


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_children_die_with_their_parent_whatever_killed_it(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from signals.process import ProcessGroup
        group = ProcessGroup(Path({str(tmp_path)!r}))
        for restart in (False, True):
            child = group.start(f"child-{{restart}}", {SLEEP!r}, restart=restart)
            print(child.pid, flush=True)
        time.sleep(600)
    """)
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    with driver.stdout:
        pids = [int(driver.stdout.readline()) for _ in range(2)]
        driver.kill()
        driver.wait()
    wait_until(lambda: all(has_ended(pid) for pid in pids))


def test_ready_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "address.json"
    write_ready_file(path, {"port": 1})
    write_ready_file(path, {"port": 2})
    assert path.read_text() == '{"port":2}'
    assert list(tmp_path.iterdir()) == [path]


def test_a_stop_signal_is_never_missed_however_close_to_the_wait_it_comes() -> None:
    program = textwrap.dedent(
        """
        import os, random, signal, sys, threading
        from signals.process import StopSignal
        stop, begin = StopSignal(), threading.Barrier(2)

        def send():
            while True:
                begin.wait()
                for _ in range(random.randrange(400)):
                    pass
                os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=send, daemon=True).start()
        for _ in range(3000):
            begin.wait()
            if not stop.wait(20.0):
                sys.exit("a signal was missed")
            stop.clear()
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
