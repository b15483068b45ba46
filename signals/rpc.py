"""Bounded Thrift RPC between our own processes: threaded server, reconnecting client.

Messages are framed (4 bytes of length, then a Thrift binary message), as Thrift's framed transport does.
Before anything else, both sides prove that they know the run's token, without sending it. A frame is
capped, and every length that it declares is checked, before it is decoded.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from thriftpy2.protocol import TCyBinaryProtocol
from thriftpy2.thrift import TApplicationException, TMessageType, TProcessor
from thriftpy2.transport import TCyMemoryBuffer

from signals.architecture import RpcEndpoint
from signals.counters import COUNTERS, rpc_bytes, rpc_calls
from signals.errors import RecordError, ServiceError
from signals.rpc_bulk import Buffer, BulkReader, is_bulk, with_bulk
from signals.rpc_channel import (
    RpcRejected,
    frame,
    frame_header,
    prove_as_client,
    prove_as_server,
    receive_frame,
    send_pieces,
)
from signals.thrift_bounds import MessageHeader, check_message

HANDSHAKE_SECONDS = 5.0
ACCEPT_POLL_SECONDS = 0.2
FIRST_RETRY_SECONDS = 0.02
LAST_RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """What a peer may make us allocate."""

    max_frame_bytes: int = 64 * 2**20
    max_elements: int = 200_000  # list elements, map entries and fields of one message, all together
    max_connections: int = 256  # of a server


class RpcUnavailable(ServiceError):
    """The server can't be reached, closed the connection, or did not answer in time."""


def check_endpoint(endpoint: RpcEndpoint, timeout_seconds: float = HANDSHAKE_SECONDS) -> None:
    """Connect, and prove the token both ways; ``timeout_seconds`` bounds each wait for the server.

    Raises RpcUnavailable or TokenRejected.
    """
    try:
        with socket.create_connection((endpoint.host, endpoint.port), timeout_seconds) as connection:
            prove_as_client(connection, endpoint.token)
    except OSError as error:
        raise RpcUnavailable(f"nothing of this project's answers: {error}") from error


class RpcServer:
    """Serves a Thrift service on loopback, a thread per connection.

    ``handler`` has a method for each of the service's; they are called concurrently. A binary argument of
    more than ``rpc_bulk.BULK_BYTES`` reaches it as a memoryview. A declared Thrift exception travels to the
    caller as itself, any other exception as RpcRejected with its message.
    """

    def __init__(
        self,
        service: Any,
        handler: object,
        token: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: RpcLimits | None = None,
    ) -> None:
        """Bind at once (port 0: a free one). Raises ServiceError if the port is taken."""
        self._service = service
        self._processor = TProcessor(service, handler)
        self._token, self._limits = token, limits or RpcLimits()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        try:
            self._listener = socket.create_server((host, port), backlog=128)
        except OSError as error:
            raise ServiceError(f"{service.__name__} can't listen on {host}:{port}: {error}") from error
        self._listener.settimeout(ACCEPT_POLL_SECONDS)
        self.host, self.port = host, int(self._listener.getsockname()[1])
        self._acceptor = threading.Thread(target=self._accept, name="rpc-accept", daemon=True)

    def start(self) -> None:
        """Begin to accept connections, in the background."""
        self._acceptor.start()

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Take no new calls, let the running ones answer, and close. Safe to call twice."""
        self._closing.set()
        deadline = time.monotonic() + timeout_seconds
        if self._acceptor.is_alive():
            self._acceptor.join()
        self._listener.close()
        with self._lock:
            connections = list(self._connections.items())
        for connection, _ in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)  # an idle thread wakes up, a busy one still answers
        for connection, thread in connections:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> RpcServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # also the poll's timeout; and being out of file descriptors must not end us
                self._closing.wait(0.001)
                continue
            if not self._begin(connection):
                connection.close()

    def _begin(self, connection: socket.socket) -> bool:
        # Whether there is room for one more, and a thread.
        thread = threading.Thread(target=self._serve, args=(connection,), name="rpc", daemon=True)
        with self._lock:
            if len(self._connections) >= self._limits.max_connections:
                return False
            self._connections[connection] = thread
        try:
            thread.start()
        except RuntimeError:  # the system gives no thread for now
            with self._lock:
                del self._connections[connection]
            return False
        return True

    def _serve(self, connection: socket.socket) -> None:
        try:
            # A peer that breaks the protocol loses its connection, and nothing else.
            with contextlib.suppress(OSError, RecordError), connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(HANDSHAKE_SECONDS)
                if not prove_as_server(connection, self._token):
                    return
                connection.settimeout(None)
                while not self._closing.is_set():
                    message = receive_frame(connection, self._limits.max_frame_bytes)
                    if message is None:
                        return
                    answer = self._answer(message)
                    if answer is not None:
                        connection.sendall(answer)
        finally:
            with self._lock:
                self._connections.pop(connection, None)

    def _answer(self, message: bytes | bytearray) -> bytes | None:
        header = check_message(message, self._limits.max_elements)
        output = TCyMemoryBuffer()
        arguments = getattr(self._service, header.method + "_args", None)
        try:
            self._processor.process(BulkReader(message, header.body, arguments), TCyBinaryProtocol(output))
        except Exception as error:
            return _rejection(header, f"{type(error).__name__}: {error}")
        payload = output.getvalue()
        if len(payload) > self._limits.max_frame_bytes:
            return _rejection(header, f"the answer has {len(payload)} bytes: ask for less at once")
        return frame(payload) if payload else None  # nothing answers a oneway call


class RpcClient:
    """Calls a service. Thread-safe: concurrent calls use connections of their own, which are kept.

    A call whose connection breaks is sent again, for up to ``retry_seconds`` (at least once on a fresh
    connection if the broken one had been idle), so the service's methods must be safe to repeat.
    """

    def __init__(
        self,
        service: Any,
        host: str,
        port: int,
        token: str,
        *,
        timeout_seconds: float = 30.0,
        retry_seconds: float = 0.0,
        limits: RpcLimits | None = None,
    ) -> None:
        """Connects at the first call. ``timeout_seconds`` bounds each wait for the server."""
        self._service, self._address, self._token = service, (host, port), token
        self._timeout_seconds, self._retry_seconds = timeout_seconds, retry_seconds
        self._limits = limits or RpcLimits()
        self._calls, self._bytes = rpc_calls(service.__name__), rpc_bytes(service.__name__)
        self._idle: list[socket.socket] = []
        self._lock = threading.Lock()

    def call(self, method: str, *args: object) -> Any:
        """Call ``method`` and return its result.

        Raises RpcUnavailable, RpcRejected, or the Thrift exception that the method declares.
        """
        request = self._encode(method, args)
        deadline = time.monotonic() + self._retry_seconds
        pause_seconds = FIRST_RETRY_SECONDS
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            reused = connection is not None
            try:
                if connection is None:
                    connection = self._connect()
                send_pieces(connection, request)
                message = receive_frame(connection, self._limits.max_frame_bytes)
                if message is None:
                    raise ConnectionResetError("the connection was closed")
                result = self._decode(method, message)
            except (OSError, RecordError) as error:
                if connection is not None:
                    connection.close()
                if reused and not isinstance(error, TimeoutError):
                    self._close_idle()  # the server went away while they were idle; all of them are stale
                    continue
                if time.monotonic() >= deadline:
                    raise RpcUnavailable(f"{self._name}, {method}: {error}") from error
                time.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, LAST_RETRY_SECONDS)
                continue
            COUNTERS.add(self._calls)
            COUNTERS.add(self._bytes, sum(map(len, request)) + len(message))
            with self._lock:
                self._idle.append(connection)
            return self._value(method, result)

    def close(self) -> None:
        """Close the idle connections."""
        self._close_idle()

    def __enter__(self) -> RpcClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _name(self) -> str:
        return f"{self._service.__name__} at {self._address[0]}:{self._address[1]}"

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address, timeout=HANDSHAKE_SECONDS)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            prove_as_client(connection, self._token)
            connection.settimeout(self._timeout_seconds)
        except BaseException:
            connection.close()
            raise
        return connection

    def _encode(self, method: str, args: tuple[object, ...]) -> list[Buffer]:
        """The frame, in pieces."""
        arguments = getattr(self._service, method + "_args")()
        bulk: dict[int, Any] = {}
        for (number, (declared_type, name, *_)), value in zip(
            arguments.thrift_spec.items(), args, strict=True
        ):
            if is_bulk(declared_type, value):
                bulk[number] = value
            else:
                setattr(arguments, name, value)
        output = TCyMemoryBuffer()
        protocol = TCyBinaryProtocol(output)
        protocol.write_message_begin(method, TMessageType.CALL, 0)
        protocol.write_struct(arguments)
        first, *others = with_bulk(output.getvalue(), bulk)
        size = len(first) + sum(map(len, others))
        if size > self._limits.max_frame_bytes:
            raise RpcRejected(f"{self._name}, {method}: the request has {size} bytes: send less at once")
        return [frame_header(size) + first, *others]

    def _decode(self, method: str, message: bytes | bytearray) -> Any:
        """The result struct, or the TApplicationException that came instead."""
        header = check_message(message, self._limits.max_elements)
        protocol = TCyBinaryProtocol(TCyMemoryBuffer(bytes(message)))
        protocol.read_message_begin()
        failed = header.message_type == TMessageType.EXCEPTION
        result = TApplicationException() if failed else getattr(self._service, method + "_result")()
        protocol.read_struct(result)
        return result

    def _value(self, method: str, result: Any) -> Any:
        if isinstance(result, TApplicationException):
            raise RpcRejected(f"{self._name}, {method}: {result.message}")
        for name, value in vars(result).items():
            if name != "success" and value is not None:
                raise value
        return getattr(result, "success", None)

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _rejection(header: MessageHeader, text: str) -> bytes:
    output = TCyMemoryBuffer()
    protocol = TCyBinaryProtocol(output)
    protocol.write_message_begin(header.method, TMessageType.EXCEPTION, header.sequence_id)
    protocol.write_struct(TApplicationException(TApplicationException.INTERNAL_ERROR, text[:4096]))
    return frame(output.getvalue())
