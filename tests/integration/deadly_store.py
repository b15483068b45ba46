"""An object store in which some objects kill the process that asks for them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

import psutil


class DeadlyStore:
    """Passes everything on to the real store, but for the requests of the keys in ``deadly``."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.deadly: set[str] = set()
        self.victims: list[int] = []  # process ids, in order

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # until it is closed
            while True:
                connection, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for source, sink in ((connection, server), (server, connection)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError), source, sink:
            while data := source.recv(65536):
                if any(key.encode() in data for key in self.deadly):
                    self._kill((source.getpeername(), source.getsockname()))
                sink.sendall(data)

    def _kill(self, ends: tuple[object, object]) -> None:
        """Whoever has the connection of ``ends``: its own, and this store's. Its own alone does not tell, as
        another process may have the same one on its way to another server."""
        for connection in psutil.net_connections("tcp4"):
            if (connection.laddr, connection.raddr) == ends and connection.pid:
                self.victims.append(connection.pid)
                os.kill(connection.pid, signal.SIGKILL)


@contextlib.contextmanager
def deadly_store(endpoint: str) -> Iterator[DeadlyStore]:
    store = DeadlyStore(endpoint)
    thread = threading.Thread(target=store.serve, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.close()
        thread.join()
