"""Child processes that can't outlive their parent, each with a log, optionally restarted when they die.

On Linux the kernel kills a child when its parent dies (``PR_SET_PDEATHSIG``), whatever killed the parent.
That signal is tied to the *thread* that started the child, so one long-lived thread starts them all.
"""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from signals.errors import ServiceError
from signals.reaping import AccountedPopen, adopt_orphans, reap_orphans
from signals.whole_file import replace_file

LOOK_SECONDS = 1.0  # between two looks at the children's memory
WATCH_SECONDS = 0.25  # until a child that died is started again
_STOP_SIGNALS = frozenset((signal.SIGTERM, signal.SIGINT))

# Runs in the child before the real program: drop to another user first (a change of credentials clears
# the death signal), then ask for the signal, then check that the parent did not die in between.
_SHIM = """
import ctypes, os, signal, sys
parent, user = int(sys.argv[1]), sys.argv[2]
if user:
    import pwd
    entry = pwd.getpwnam(user)
    os.setgroups([]); os.setgid(entry.pw_gid); os.setuid(entry.pw_uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    os._exit(1)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def bound_to_this_process(argv: Sequence[str], user: str = "") -> list[str]:
    """The command of a child that is killed when the thread that starts it ends; as another ``user``, if one
    is named."""
    return [sys.executable, "-S", "-E", "-c", _SHIM, str(os.getpid()), user, *argv]


@dataclass
class Child:
    """One running program. ``restarts`` counts how often it was started again after it died."""

    name: str
    argv: list[str]
    log: Path
    env: dict[str, str]
    user: str
    cwd: Path | None
    restart: bool
    popen: AccountedPopen
    restarts: int = 0
    failed_starts: int = 0  # since it died: the machine lacks memory, processes or descriptors for now
    expected: bool = field(default=False)  # its end is wanted or was reported

    @property
    def pid(self) -> int:
        """Process id of the current incarnation."""
        return self.popen.pid


class ProcessGroup:
    """Starts children, watches them, stops them in reverse order.

    A child with ``restart=True`` is started again when it dies, up to ``MAX_RESTARTS`` times, as a cluster
    manager would do; ``on_restart`` is told of each. Any other death makes :meth:`check` raise.
    """

    MAX_RESTARTS = 20
    MAX_FAILED_STARTS = 120  # of one child in a row, every WATCH_SECONDS: half a minute
    RESTARTS_BEFORE_READY = 1  # a worker that never came up is broken, not unlucky

    def __init__(self, log_dir: Path, on_restart: Callable[[Child], None] | None = None) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir = log_dir
        self._on_restart = on_restart
        self._children: list[Child] = []
        self._sessions: list[int] = []  # of every process started: each leads one, named by its id
        self._next_look = 0.0
        adopt_orphans()
        self._lock = threading.RLock()
        self._stopping = False
        self._requests: queue.Queue[tuple[Callable[[], Child], Future[Child]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, name="spawner", daemon=True)
        self._thread.start()

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str = "",
        cwd: Path | None = None,
        restart: bool = False,
    ) -> Child:
        """Start a program with stdout and stderr in ``log_dir/name.log``. Raises ServiceError."""
        full_env = {**os.environ, **(env or {})}

        def spawn() -> Child:
            child = Child(
                name=name,
                argv=list(argv),
                log=self._log_dir / f"{name}.log",
                env=full_env,
                user=user,
                cwd=cwd,
                restart=restart,
                popen=_NO_PROCESS,
            )
            child.popen = self._popen(child)
            return child

        future: Future[Child] = Future()
        with self._lock:  # what is queued before stop() is still answered, later nothing would be
            if self._stopping:
                raise ServiceError(f"{name} is not started: the process group is being stopped")
            self._requests.put((spawn, future))
        child = future.result()
        return child

    def check(self) -> None:
        """Raise ServiceError, naming the service and its log, if a child died that should be running."""
        with self._lock:
            for child in self._children:
                if not child.expected and not child.restart and child.popen.poll() is not None:
                    child.expected = True
                    raise ServiceError(_died(child))
                if child.restart and child.failed_starts > self.MAX_FAILED_STARTS:
                    raise ServiceError(
                        f"{child.name} can't be started again; its log is {child.log}{log_tail(child.log)}"
                    )

    def wait_for_file(self, child: Child, path: Path, timeout_seconds: float) -> dict[str, object]:
        """Wait until ``child`` wrote the JSON file ``path`` (it does so when ready) and return its content.

        Raises ServiceError when the child dies or the time is over.
        """
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError, orjson.JSONDecodeError):
                content: dict[str, object] = orjson.loads(path.read_bytes())
                return content
            if child.popen.poll() is not None and not child.restart:
                child.expected = True
                raise ServiceError(_died(child))
            if child.restarts > self.RESTARTS_BEFORE_READY:
                raise ServiceError(
                    f"{child.name} died {child.restarts} times before it was ready; its log is {child.log}"
                    + log_tail(child.log)
                )
            time.sleep(0.02)
        raise ServiceError(
            f"{child.name} was not ready after {timeout_seconds:.0f} s; its log is {child.log}"
            + log_tail(child.log)
        )

    def stop_child(self, child: Child, timeout_seconds: float = 10.0) -> None:
        """Stop one child: SIGTERM to its process group, then SIGKILL. Its end is then expected."""
        with self._lock:
            child.expected = True
            child.restart = False
        _terminate([child], timeout_seconds)

    def stop(self, timeout_seconds: float = 10.0, *, at_once: bool = False) -> None:
        """Stop all children, last started first; ``at_once`` where none needs another. Never raises."""
        with self._lock:
            self._stopping = True
            children = list(reversed(self._children))
            for child in children:
                child.expected = True
                child.restart = False
        for together in [children] if at_once else [[child] for child in children]:
            _terminate(together, timeout_seconds)
        reap_orphans(self._sessions)
        self._requests.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=timeout_seconds)

    @property
    def children(self) -> list[Child]:
        """The children started so far."""
        with self._lock:
            return list(self._children)

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _popen(self, child: Child) -> AccountedPopen:
        try:
            with child.log.open("ab") as log:
                popen = AccountedPopen(
                    child.name,
                    bound_to_this_process(child.argv, child.user),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=child.env,
                    cwd=child.cwd,
                    start_new_session=True,
                )
        except OSError as error:
            raise ServiceError(f"{child.name} could not be started: {error}") from error
        self._sessions.append(popen.pid)
        return popen

    def _serve(self) -> None:
        while True:
            try:
                request = self._requests.get(timeout=WATCH_SECONDS)
            except queue.Empty:
                # Out of memory or descriptors for now: this thread must live, its death would kill them all.
                with contextlib.suppress(ServiceError, OSError):
                    self._restart_dead()
                self._look_at_memory()
                continue
            if request is None:
                return
            spawn, future = request
            try:
                with self._lock:
                    if self._stopping:
                        raise ServiceError("the process group is being stopped")
                    child = spawn()
                    self._children.append(child)
                future.set_result(child)
            except BaseException as error:
                future.set_exception(error)

    def _look_at_memory(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        for child in self.children:
            if child.popen.returncode is None:
                child.popen.look()

    def _restart_dead(self) -> None:
        restarted = []
        with self._lock:
            if self._stopping:
                return
            for child in self._children:
                if not child.restart or child.popen.poll() is None:
                    continue
                if child.restarts == self.MAX_RESTARTS:
                    child.restart = False
                elif self._start_again(child):
                    restarted.append(child)
        for child in restarted:
            if self._on_restart is not None:
                self._on_restart(child)

    def _start_again(self, child: Child) -> bool:
        try:
            child.popen = self._popen(child)
        except ServiceError as error:
            if not child.failed_starts:
                with contextlib.suppress(OSError), child.log.open("a") as log:
                    log.write(f"{error}\n")
            child.failed_starts += 1
            return False
        child.failed_starts = 0
        child.restarts += 1
        return True


_NO_PROCESS: AccountedPopen = None  # type: ignore[assignment]  # replaced before a Child is seen


class StopSignal(threading.Event):
    """Set when this process is asked to stop (SIGTERM, SIGINT). Make it in the main thread, once.

    A thread sets it, which the interpreter's wake-up descriptor tells: a handler in the main thread would
    not run if the signal came just before that thread blocks in :meth:`wait`, and would wait for ever for
    the event's own lock if it came while that thread holds it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._told, tell = socket.socketpair()
        tell.setblocking(False)
        self._tell = tell
        signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:
            signal.signal(number, lambda *_: None)  # without a handler, the descriptor is told nothing
        threading.Thread(target=self._listen, name="stop-signal", daemon=True).start()

    def _listen(self) -> None:
        while True:
            if _STOP_SIGNALS.intersection(self._told.recv(64)):
                self.set()


def keep_what_is_loaded() -> None:
    """What is in memory now stays: the collector need not look through it again for every few images."""
    gc.collect()
    gc.freeze()


def write_ready_file(path: Path, content: Mapping[str, object]) -> None:
    """Say "ready" to the parent: write ``content`` (an address, say) atomically to ``path``."""
    replace_file(path, orjson.dumps(dict(content)))


def previous_port(path: Path) -> int:
    """The port in a ready file that an earlier incarnation of this process wrote, 0 if there is none."""
    with contextlib.suppress(OSError, orjson.JSONDecodeError, KeyError):
        return int(orjson.loads(path.read_bytes())["port"])
    return 0


def log_tail(log: Path, lines: int = 12) -> str:
    """The last lines that say something, each on a line of its own and indented: what follows a message."""
    with contextlib.suppress(OSError):
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return "".join("\n    " + line for line in said[-lines:])
    return ""


def _terminate(children: list[Child], timeout_seconds: float) -> None:
    for child in children:
        _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + timeout_seconds
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.popen.wait(max(0.0, deadline - time.monotonic()))
        _signal_group(child, signal.SIGKILL)  # also what it left in its group
        child.popen.wait()


def _signal_group(child: Child, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.popen.pid, number)


def _died(child: Child) -> str:
    code, log = child.popen.returncode, child.log
    restarts = f" after {child.restarts} restarts" if child.restarts else ""
    return f"{child.name} ended with code {code}{restarts}; its log is {log}{log_tail(log)}"
