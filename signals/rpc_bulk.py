"""Large binary arguments of a call, which pass the Thrift codec by: it would copy each several times.

On the wire they are what Thrift makes of them. The fields of a struct may come in any order, so the sender
puts the large ones behind all others, and the receiver cuts them out before it decodes the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from thriftpy2.protocol import TCyBinaryProtocol
from thriftpy2.thrift import TType
from thriftpy2.transport import TCyMemoryBuffer

from signals.thrift_bounds import fields_of_struct

BULK_BYTES = 64 * 1024

_FIELD = struct.Struct(">Bhi")  # type, number, length
_WIRE_STRING = 11  # the type of binary values, too
_STOP = b"\0"

Buffer = bytes | bytearray | memoryview


def is_bulk(declared_type: int, value: object) -> bool:
    """Whether an argument is declared ``binary`` and large."""
    return declared_type == TType.BINARY and isinstance(value, Buffer) and len(value) > BULK_BYTES


def with_bulk(message: bytes, bulk: Mapping[int, Buffer]) -> list[Buffer]:
    """A message whose arguments lack ``bulk`` (by field number), with them: pieces to send in turn."""
    if not bulk:
        return [message]
    pieces: list[Buffer] = [message[: -len(_STOP)]]
    for number, value in bulk.items():
        pieces += [_FIELD.pack(_WIRE_STRING, number, len(value)), value]
    return [*pieces, _STOP]


class BulkReader(TCyBinaryProtocol):  # type: ignore[misc]  # thriftpy2 has no types
    """Reads one message that was checked, whose arguments begin at ``start``; ``arguments`` is their class.
    Large binary arguments become views of the message."""

    def __init__(self, message: bytes | bytearray, start: int, arguments: Any) -> None:
        self._bulk: dict[str, memoryview] = {}
        kept: list[Buffer] = []
        view, kept_until = memoryview(message), 0
        if len(message) > BULK_BYTES and arguments is not None:
            for field in fields_of_struct(message, start):
                declared_type, name, *_ = arguments.thrift_spec.get(field.number, (None, ""))
                value = view[field.start + _FIELD.size : field.end]
                if field.wire_type == _WIRE_STRING and is_bulk(declared_type, value):
                    self._bulk[name] = value
                    kept.append(view[kept_until : field.start])
                    kept_until = field.end
        kept.append(view[kept_until:])
        super().__init__(TCyMemoryBuffer(b"".join(kept)))

    def read_struct(self, arguments: Any) -> Any:
        """See thriftpy2."""
        found = super().read_struct(arguments)
        for name, value in self._bulk.items():
            setattr(arguments, name, value)
        return found
