from __future__ import annotations

import io
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import thriftpy2
from hypothesis import given, settings
from hypothesis import strategies as st

from signals.errors import RecordError, ServiceError
from signals.rpc import RpcClient, RpcLimits, RpcServer, RpcUnavailable
from signals.rpc_channel import RpcRejected, frame, prove_as_client, receive_frame
from signals.thrift_bounds import ThriftBoundsError, check_message, check_struct

IDL = thriftpy2.load_fp(
    io.StringIO(
        """
        exception Full { 1: string reason }
        service Echo {
          list<binary> echo(1: list<binary> items) throws (1: Full full)
          i32 fail(1: string text)
          void hold()
          string weigh(1: binary first, 2: string label, 3: binary second)
          map<string, list<i32>> nested(1: map<string, list<i32>> value)
        }
        """
    ),
    "echo_thrift",
)
TOKEN = "the token of this run"
LIMITS = RpcLimits(max_frame_bytes=100_000, max_elements=1_000, max_connections=4)


class Handler:
    def __init__(self) -> None:
        self.held = threading.Event()
        self.release = threading.Event()

    def echo(self, items: list[bytes]) -> list[bytes]:
        if items == [b"full"]:
            raise IDL.Full(reason="queue")
        return items * 2 if items == [b"x" * 60_000] else items

    def fail(self, text: str) -> int:
        raise ValueError(text)

    def weigh(self, first: bytes, label: str, second: bytes) -> str:
        return f"{type(label).__name__} {len(label)} {zlib.crc32(first)} {zlib.crc32(second)}"

    def hold(self) -> None:
        self.held.set()
        self.release.wait(10)

    def nested(self, value: dict[str, list[int]]) -> dict[str, list[int]]:
        return value


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def server(handler: Handler) -> Iterator[RpcServer]:
    with RpcServer(IDL.Echo, handler, TOKEN, limits=LIMITS) as running:
        yield running


@pytest.fixture
def client(server: RpcServer) -> Iterator[RpcClient]:
    with RpcClient(IDL.Echo, server.host, server.port, TOKEN, limits=LIMITS) as made:
        yield made


@pytest.fixture
def peer(server: RpcServer) -> Iterator[socket.socket]:
    """A peer that knows the token and then says what it likes."""
    with socket.create_connection((server.host, server.port), timeout=5) as connection:
        prove_as_client(connection, TOKEN)
        yield connection


def closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_call_returns_the_handlers_answer(client: RpcClient) -> None:
    assert client.call("echo", [b"a", b"", b"\x00\xff"]) == [b"a", b"", b"\x00\xff"]
    assert client.call("nested", {"ü": [1, -2], "": []}) == {"ü": [1, -2], "": []}


@pytest.mark.parametrize("sizes", [(90_000, 5), (5, 90_000), (70_000, 0)])
def test_large_binary_arguments_are_what_thrift_would_have_sent(
    client: RpcClient, peer: socket.socket, sizes: tuple[int, int]
) -> None:
    first, second = (bytes(range(256)) * (size // 256) + bytes(size % 256) for size in sizes)
    expected = f"str 3 {zlib.crc32(first)} {zlib.crc32(second)}"
    assert client.call("weigh", first, "two", memoryview(second)) == expected
    # As a client of Thrift's own would send them, and with fields that nobody knows between them.
    arguments = b"".join(
        struct.pack(">Bhi", 11, number, len(value)) + value
        for number, value in ((9, b"later"), (3, second), (1, first), (2, b"two"))
    )
    peer.sendall(frame(message("weigh", arguments + b"\0")))
    answer = receive_frame(peer, 1000)
    assert answer is not None and expected.encode() in answer


def test_a_long_text_is_a_text(client: RpcClient) -> None:
    assert client.call("weigh", b"", "x" * 80_000, b"").startswith("str 80000 ")


def test_large_arguments_count_towards_the_cap(client: RpcClient) -> None:
    with pytest.raises(RpcRejected, match="the request has 140"):
        client.call("weigh", bytes(70_000), "", bytes(70_000))


def test_listens_on_loopback_only(server: RpcServer) -> None:
    assert server.host == "127.0.0.1"


def test_a_declared_exception_arrives_as_itself(client: RpcClient) -> None:
    with pytest.raises(IDL.Full) as caught:
        client.call("echo", [b"full"])
    assert caught.value.reason == "queue"


def test_any_other_exception_arrives_with_its_message_and_the_connection_lives(client: RpcClient) -> None:
    with pytest.raises(RpcRejected, match="ValueError: no such thing"):
        client.call("fail", "no such thing")
    assert client.call("echo", [b"a"]) == [b"a"]


def test_both_sides_need_the_same_token(server: RpcServer, client: RpcClient) -> None:
    with (
        RpcClient(IDL.Echo, server.host, server.port, "another", retry_seconds=30) as stranger,
        pytest.raises(RpcRejected, match="refuses the token"),
    ):
        stranger.call("echo", [b"a"])
    assert client.call("echo", [b"a"]) == [b"a"]


def test_a_client_does_not_talk_to_a_program_that_took_the_port() -> None:
    def impostor() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"c" * 16)
            connection.recv(1000)
            connection.sendall(b"p" * 32)
            received.append(connection.recv(1000))

    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=impostor)
        thread.start()
        host, port = listener.getsockname()
        with RpcClient(IDL.Echo, host, port, TOKEN) as client, pytest.raises(RpcRejected, match="another"):
            client.call("echo", [b"secret"])
        thread.join()
    assert received == [b""]


def test_nothing_is_served_before_the_handshake(server: RpcServer) -> None:
    with socket.create_connection((server.host, server.port), timeout=5) as connection:
        connection.recv(16)
        connection.sendall(frame(message("echo", b"\x0f\x00\x01\x0b\x00\x00\x00\x00\x00")))
        connection.sendall(b"\0" * 48)
        received = b""
        while len(received) < 32 and (chunk := connection.recv(32)):
            received += chunk
        assert received == b"\0" * 32
        assert closed(connection)


def message(method: str, arguments: bytes) -> bytes:
    return struct.pack(">Ii", 0x80010001, len(method)) + method.encode() + struct.pack(">i", 7) + arguments


def test_an_oversized_frame_ends_the_connection_and_nothing_else(
    peer: socket.socket, client: RpcClient
) -> None:
    peer.sendall(struct.pack(">I", LIMITS.max_frame_bytes + 1))

    assert closed(peer)
    assert client.call("echo", [b"a"]) == [b"a"]


@pytest.mark.parametrize(
    "arguments",
    [
        struct.pack(">BhBi", 15, 1, 11, 2**31 - 1) + b"\0",  # a list of 2^31 strings
        struct.pack(">BhBi", 15, 1, 2, 1001) + b"\0" * 1002,  # more elements than allowed, all there
        struct.pack(">BhBi", 15, 1, 11, -1) + b"\0",
        struct.pack(">BhBii", 15, 1, 11, 1, 2**31 - 1) + b"\0",  # a string that is not there
        struct.pack(">BhBii", 15, 1, 11, 1, -1) + b"\0",
        struct.pack(">BhBBi", 13, 1, 11, 11, 2**31 - 1) + b"\0",  # a map
        struct.pack(">BhBi", 15, 1, 1, 9) + b"\0",  # elements of a type that has no size
        b"\x0c\x00\x01" * 40 + b"\0" * 41,  # nests 40 deep
        b"\x0f\x00\x01" + b"\x0f\x00\x00\x00\x01" * 40 + b"\0",  # a list in a list in a list …
        b"",
        b"\0\0",
    ],
)
def test_lying_lengths_are_refused_before_decoding(
    peer: socket.socket, client: RpcClient, arguments: bytes
) -> None:
    with pytest.raises(ThriftBoundsError):
        check_message(message("echo", arguments), LIMITS.max_elements)

    peer.sendall(frame(message("echo", arguments)))

    assert closed(peer)
    assert client.call("echo", [b"a"]) == [b"a"]


@pytest.mark.parametrize(
    "payload", [b"", b"GET / HTTP/1.1\r\n\r\n", struct.pack(">Ii", 0x80010001, 2**31 - 1)]
)
def test_what_is_no_message_ends_the_connection(peer: socket.socket, payload: bytes) -> None:
    peer.sendall(frame(payload))
    assert closed(peer)


def test_an_unknown_method_is_answered(peer: socket.socket, client: RpcClient) -> None:
    peer.sendall(frame(message("drop_all", b"\0")))

    answer = receive_frame(peer, 1000)
    assert answer is not None
    assert check_message(answer, 10).message_type == 3
    with pytest.raises(AttributeError):
        client.call("drop_all")


def test_arguments_of_the_wrong_type_are_answered_not_fatal(peer: socket.socket) -> None:
    peer.sendall(frame(message("echo", struct.pack(">Bhi", 8, 1, 5) + b"\0")))

    answer = receive_frame(peer, 10_000)
    assert answer is not None
    assert check_message(answer, 10).message_type in (2, 3)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_bounds_hold_for_any_bytes(data: bytes) -> None:
    for check in (check_message, check_struct):
        try:
            check(data, 1_000)
        except RecordError:
            continue


def test_requests_and_answers_over_the_cap_are_rejected_with_advice(client: RpcClient) -> None:
    with pytest.raises(RpcRejected, match="send less"):
        client.call("echo", [b"x" * 100_000])
    with pytest.raises(RpcRejected, match="ask for less"):
        client.call("echo", [b"x" * 60_000])
    assert client.call("echo", [b"a"]) == [b"a"]


def test_connections_are_bounded_and_free_again(server: RpcServer) -> None:
    connections = [
        socket.create_connection((server.host, server.port), timeout=5) for _ in range(LIMITS.max_connections)
    ]
    for connection in connections:
        prove_as_client(connection, TOKEN)
    with (
        RpcClient(IDL.Echo, server.host, server.port, TOKEN) as refused,
        pytest.raises(RpcUnavailable, match=r"no more connections|reset"),
    ):
        refused.call("echo", [b"a"])
    for connection in connections:
        connection.close()
    with RpcClient(IDL.Echo, server.host, server.port, TOKEN, retry_seconds=10) as client:
        assert client.call("echo", [b"a"]) == [b"a"]


def test_a_server_that_gets_no_thread_refuses_and_serves_again(
    server: RpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        if thread.name == "rpc":
            raise RuntimeError("can't start new thread")
        start(thread)

    start = threading.Thread.start
    with RpcClient(IDL.Echo, server.host, server.port, TOKEN) as client:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RpcUnavailable, match=r"no more connections|reset"):
                client.call("echo", [b"a"])
        assert client.call("echo", [b"a"]) == [b"a"]


def test_concurrent_calls_of_one_client(client: RpcClient) -> None:
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda n: client.call("echo", [b"%d" % n]), range(200)))
    assert answers == [[b"%d" % n] for n in range(200)]


def test_a_client_finds_a_server_that_was_restarted() -> None:
    with RpcServer(IDL.Echo, Handler(), TOKEN) as first:
        client = RpcClient(IDL.Echo, first.host, first.port, TOKEN, retry_seconds=30)
        assert client.call("echo", [b"1"]) == [b"1"]
    restarted: list[RpcServer] = []

    def restart() -> None:
        restarted.append(RpcServer(IDL.Echo, Handler(), TOKEN, port=first.port))
        restarted[0].start()

    timer = threading.Timer(0.2, restart)
    timer.start()
    assert client.call("echo", [b"2"]) == [b"2"]
    timer.join()
    client.close()
    restarted[0].close()


def test_a_server_that_is_gone_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
    with RpcClient(IDL.Echo, host, port, TOKEN) as client, pytest.raises(RpcUnavailable, match=str(port)):
        client.call("echo", [])


def test_a_server_that_does_not_answer_in_time_is_unavailable(server: RpcServer, handler: Handler) -> None:
    with (
        RpcClient(IDL.Echo, server.host, server.port, TOKEN, timeout_seconds=0.1) as client,
        pytest.raises(RpcUnavailable, match="timed out"),
    ):
        client.call("hold")
    handler.release.set()


def test_closing_lets_a_running_call_answer(handler: Handler) -> None:
    server = RpcServer(IDL.Echo, handler, TOKEN)
    server.start()
    with RpcClient(IDL.Echo, server.host, server.port, TOKEN) as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.call, "hold")
        handler.held.wait(10)
        threading.Timer(0.1, handler.release.set).start()
        server.close()
        assert call.result(10) is None
        with pytest.raises(RpcUnavailable):
            client.call("echo", [])
    server.close()


def test_closing_does_not_wait_for_idle_connections(server: RpcServer, client: RpcClient) -> None:
    client.call("echo", [])
    start = time.monotonic()
    server.close(timeout_seconds=60)
    assert time.monotonic() - start < 30


def test_a_taken_port_is_said_plainly(server: RpcServer) -> None:
    with pytest.raises(ServiceError, match=f"can't listen on 127.0.0.1:{server.port}"):
        RpcServer(IDL.Echo, Handler(), TOKEN, port=server.port)
