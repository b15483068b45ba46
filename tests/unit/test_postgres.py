from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.services.postgres import binaries_dir, copy_server
from lambda_pipeline.pinlater import PgmqPinLater
from signals.errors import ServiceError

SO_ATTACH_FILTER = 26
AUTHENTICATED = struct.pack(">cii", b"R", 8, 0)
READY = struct.pack(">cic", b"Z", 5, b"I")
RESET = struct.pack("ii", 1, 0)


@pytest.mark.parametrize("program", ["initdb", "postgres"])
def test_a_copied_server_finds_its_libraries(program: str, tmp_path: Path) -> None:
    """As root, from a checkout that other users can't reach, the server runs from a copy."""
    copied = copy_server(binaries_dir(), tmp_path)
    done = subprocess.run([copied / program, "--version"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "PostgreSQL" in done.stdout


def cut_off(connection: socket.socket) -> None:
    """From now on the kernel drops what comes, and acknowledges nothing."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0), 8)
    program = struct.pack("HL", 1, ctypes.addressof(drop_all))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


@contextlib.contextmanager
def server_that_is_cut_off() -> Iterator[str]:
    """The DSN of a PostgreSQL that lets one client in, and gets none of its requests."""

    def let_in() -> socket.socket:
        connection, _ = listener.accept()
        connection.recv(4096)
        cut_off(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)  # whoever waits for it still
        connection.sendall(AUTHENTICATED + READY)
        return connection

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        connection = pool.submit(let_in)
        port = listener.getsockname()[1]
        try:
            yield f"postgresql://user@127.0.0.1:{port}/db?sslmode=disable&gssencmode=disable"
        finally:
            connection.result(10).close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a test drop packets")
def test_a_network_that_goes_silent_is_a_service_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signals.postgres.UNACKNOWLEDGED_SECONDS", 0.2)
    monkeypatch.setattr("lambda_pipeline.pinlater.RECONNECT_SECONDS", 0.0)
    with ThreadPoolExecutor(1) as pool, server_that_is_cut_off() as dsn:
        pinlater = PgmqPinLater(dsn, "lk", "online")
        with pytest.raises(ServiceError, match="does not answer"):
            pool.submit(pinlater.counts).result(10)
