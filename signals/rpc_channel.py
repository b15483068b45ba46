"""The bytes between two of our processes: frames with a cap, and a handshake that proves the run's token."""

from __future__ import annotations

import hmac
import secrets
import socket
import struct
from collections.abc import Sequence

from signals.errors import RecordError, ServiceError

_LENGTH = struct.Struct(">I")
_FIRST_BYTES = 2**16  # most frames are smaller
_NONCE_BYTES = 16
_PROOF_BYTES = 32
_REFUSED = bytes(_PROOF_BYTES)
_RECEIVE_BYTES = 2**21  # allocated before anything has come, whatever a frame declares


class RpcRejected(ServiceError):
    """The server answered that it can't do what was asked; asking again would not help."""


class TokenRejected(RpcRejected):
    """The two sides do not share the token: another run's server, or another program, has the address."""


def frame(payload: bytes) -> bytes:
    """``payload`` with its length before it."""
    return _LENGTH.pack(len(payload)) + payload


def prove_as_server(connection: socket.socket, token: str) -> bool:
    """Whether the peer knows the token. Neither side ever sends it. Raises OSError."""
    challenge = secrets.token_bytes(_NONCE_BYTES)
    connection.sendall(challenge)
    answer = _receive(connection, _NONCE_BYTES + _PROOF_BYTES)
    if answer is None:
        return False
    nonce, proof = answer[:_NONCE_BYTES], answer[_NONCE_BYTES:]
    known = hmac.compare_digest(proof, _proof(token, b"client", challenge, nonce))
    connection.sendall(_proof(token, b"server", challenge, nonce) if known else _REFUSED)
    return known


def prove_as_client(connection: socket.socket, token: str) -> None:
    """Raises TokenRejected where the two sides do not share the token, and OSError."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    challenge = _receive(connection, _NONCE_BYTES)
    if challenge is None:
        raise ConnectionResetError("the server takes no more connections")
    connection.sendall(nonce + _proof(token, b"client", challenge, nonce))
    answer = _receive(connection, _PROOF_BYTES)
    if answer is None:
        raise ConnectionResetError("the connection was closed in the handshake")
    if answer == _REFUSED:
        raise TokenRejected("the server refuses the token")
    if not hmac.compare_digest(answer, _proof(token, b"server", challenge, nonce)):
        raise TokenRejected("the server does not know the token: another program has its port")


def _proof(token: str, side: bytes, challenge: bytes | bytearray, nonce: bytes | bytearray) -> bytes:
    return hmac.digest(token.encode(), side + challenge + nonce, "sha256")


def send_pieces(connection: socket.socket, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
    """All of ``pieces``, as if they were one. Raises OSError."""
    sent = connection.sendmsg(pieces)
    for piece in pieces:
        if sent < len(piece):
            connection.sendall(memoryview(piece)[sent:])
        sent = max(0, sent - len(piece))


def frame_header(size: int) -> bytes:
    """What goes before a payload of ``size`` bytes."""
    return _LENGTH.pack(size)


def receive_frame(connection: socket.socket, max_bytes: int) -> bytes | bytearray | None:
    """The next payload; None where the peer closed the connection between two frames.

    Raises RecordError for a frame that declares more than ``max_bytes``, and OSError.
    """
    header = _receive(connection, _LENGTH.size)
    if header is None:
        return None
    (size,) = _LENGTH.unpack(header)
    if size > max_bytes:
        raise RecordError(f"a frame declares {size} bytes, more than {max_bytes}")
    payload = _receive(connection, size) if size else b""
    if payload is None:
        raise ConnectionResetError("the connection was closed inside a frame")
    return payload


def _receive(connection: socket.socket, size: int) -> bytes | bytearray | None:
    """Exactly ``size`` bytes; None where the peer closed before the first."""
    first = connection.recv(min(size, _FIRST_BYTES))
    if len(first) == size:
        return first
    if not first:
        return None
    received, filled = bytearray(min(size, _RECEIVE_BYTES)), len(first)
    received[:filled] = first
    while filled < size:
        if filled == len(received):
            received.extend(bytes(min(size - filled, filled)))
        with memoryview(received) as view, view[filled:] as rest:
            count = connection.recv_into(rest)
        if not count:
            raise ConnectionResetError("the connection was closed inside a frame")
        filled += count
    return received
