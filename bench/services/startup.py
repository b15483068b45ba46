"""What bringing up any server has in common: free ports, waiting until it answers, another try."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

from signals.errors import ServiceError
from signals.process import Child, ProcessGroup, log_tail

LOOPBACK = "127.0.0.1"
ATTEMPTS = 4
POLL_SECONDS = 0.05
_PORT_TAKEN = ("Address already in use", "Failed to bind")  # PostgreSQL and Kafka; S3Proxy


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports that are free now. Another process may take one before it is used."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def start_on_free_ports(
    group: ProcessGroup,
    ports: int,
    launch: Callable[[list[int]], Child],
    probe: Callable[[list[int]], object],
    timeout_seconds: float,
) -> tuple[Child, list[int]]:
    """Start a server and wait until ``probe`` returns without raising.

    If a port was taken in between, try again on others. Raises ServiceError, naming the server and its
    log, when it ends or does not answer in time.
    """
    for attempt in range(1, ATTEMPTS + 1):
        chosen = free_ports(ports)
        child = launch(chosen)
        try:
            wait_until_healthy(child, lambda: probe(chosen), timeout_seconds)  # noqa: B023 (called at once)
            return child, chosen
        except ServiceError:
            group.stop_child(child, timeout_seconds=2.0)
            log = child.log.read_text(errors="replace")
            if attempt == ATTEMPTS or not any(text in log for text in _PORT_TAKEN):
                raise
            child.log.rename(child.log.with_suffix(f".{attempt}.log"))
    raise AssertionError("the loop returns or raises")


def wait_until_healthy(child: Child, probe: Callable[[], object], timeout_seconds: float) -> None:
    """Call ``probe`` until it returns without raising. Raises ServiceError with the child's last words."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            probe()
            problem = ""
        except Exception as error:  # whatever a client raises while its server is not there yet
            problem = str(error).strip() or type(error).__name__
        # An answer counts only if it came from the child, not from another server on its port.
        if (code := child.popen.poll()) is not None:
            raise ServiceError(
                f"{child.name} ended with code {code}; its log is {child.log}{log_tail(child.log)}"
            )
        if not problem:
            return
        if time.monotonic() > deadline:
            raise ServiceError(
                f"{child.name} did not answer within {timeout_seconds:.0f} s ({problem}); its log is "
                f"{child.log}{log_tail(child.log)}"
            )
        time.sleep(POLL_SECONDS)
