"""The Thrift form that our own writers give a record, packed and parsed at once.

A generic protocol looks every field up; a record is encoded and decoded for every image and every row of a
night. The layout follows from the IDL: fields in the order of their numbers, all of them present. Whatever
else is valid Thrift goes through the generic decoder, see :mod:`signals.encodings`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

_I32 = struct.Struct(">i")
_LIST = struct.Struct(">Bi")
_TYPE_I32, _TYPE_STRING, _TYPE_LIST = 8, 11, 15
_BINARY = 18  # thriftpy2's name for a string of bytes; on the wire it is a string
_STOP = b"\0"


class PackedLayout:
    """The fields of a struct that holds strings, binaries, i32 and lists of i32. ``spec``: thriftpy2's."""

    def __init__(self, spec: Mapping[int, tuple[Any, ...]]) -> None:
        self._fields: list[tuple[bytes, int, str]] = []
        for number, (kind, name, *_) in sorted(spec.items()):
            wire_type = _TYPE_STRING if kind == _BINARY else kind
            self._fields.append((struct.pack(">Bh", wire_type, number), kind, name))

    def pack(self, record: object) -> bytes:
        """The struct whose fields are the attributes of ``record``."""
        parts: list[bytes] = []
        for header, kind, name in self._fields:
            value = getattr(record, name)
            if kind == _TYPE_I32:
                parts += (header, _I32.pack(value))
            elif kind == _TYPE_LIST:
                parts += (header, struct.pack(f">Bi{len(value)}i", _TYPE_I32, len(value), *value))
            else:
                data = value if kind == _BINARY else value.encode()
                parts += (header, _I32.pack(len(data)), data)
        parts.append(_STOP)
        return b"".join(parts)

    def parse(self, data: bytes) -> dict[str, Any] | None:
        """The fields by name, lists as tuples; None for bytes that are not exactly in this layout.

        No declared length is believed before the bytes are there.
        """
        values: dict[str, Any] = {}
        position, size = 0, len(data)
        try:
            for header, kind, name in self._fields:
                if data[position : position + 3] != header:
                    return None
                position += 3
                if kind == _TYPE_I32:
                    (values[name],) = _I32.unpack_from(data, position)
                    position += 4
                elif kind == _TYPE_LIST:
                    element, count = _LIST.unpack_from(data, position)
                    position += _LIST.size
                    if element != _TYPE_I32 or not 0 <= 4 * count <= size - position:
                        return None
                    values[name] = struct.unpack_from(f">{count}i", data, position)
                    position += 4 * count
                else:
                    (length,) = _I32.unpack_from(data, position)
                    position += 4
                    if not 0 <= length <= size - position:
                        return None
                    raw = data[position : position + length]
                    values[name] = raw if kind == _BINARY else raw.decode()
                    position += length
        except (struct.error, UnicodeDecodeError):
            return None
        return values if data[position:] == _STOP else None
