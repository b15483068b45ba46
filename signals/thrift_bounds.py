"""Checks that bytes are well-formed Thrift (binary protocol) before a decoder believes their lengths.

The decoder caps nesting, not size: a few bytes that declare a list of 2^31 elements make it allocate
gigabytes. One walk over the bytes proves that every declared length is really there, that nothing nests
too deep, and that the number of elements stays small; it decodes nothing and allocates nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from signals.errors import RecordError

MAX_DEPTH = 16
MAX_METHOD_NAME_BYTES = 128

_VERSION_1 = 0x80010000
_I32 = struct.Struct(">i")
_HEADER = struct.Struct(">Ii")  # version and message type, length of the method's name
_FIELD = struct.Struct(">Bh")  # type, number
_LIST = struct.Struct(">Bi")
_MAP = struct.Struct(">BBi")

_STRING, _STRUCT, _MAP_TYPE, _SET, _LIST_TYPE = 11, 12, 13, 14, 15
_FIXED_BYTES = {2: 1, 3: 1, 4: 8, 6: 2, 8: 4, 10: 8}  # bool, i8, double, i16, i32, i64
_STOP = 0


class ThriftBoundsError(RecordError):
    """The bytes are not well-formed Thrift, or too large a structure."""


@dataclass(frozen=True, slots=True)
class MessageHeader:
    """What a Thrift message says about itself."""

    method: str
    message_type: int  # 1 call, 2 reply, 3 exception, 4 oneway
    sequence_id: int
    body: int  # the position behind the header


@dataclass(frozen=True, slots=True)
class Field:
    """Where a field of a struct lies: from its type and number until the end of its value."""

    wire_type: int
    number: int
    start: int
    end: int


def check_struct(data: bytes | bytearray, max_elements: int) -> None:
    """Raise ThriftBoundsError unless ``data`` is exactly one struct of at most ``max_elements`` elements."""
    _check(data, 0, max_elements)


def check_message(data: bytes | bytearray, max_elements: int) -> MessageHeader:
    """Raise ThriftBoundsError unless ``data`` is exactly one message; return its header."""
    try:
        version_and_type, name_bytes = _HEADER.unpack_from(data, 0)
        if version_and_type & 0xFFFFFF00 != _VERSION_1:
            raise ThriftBoundsError("not a Thrift message")
        if not 0 < name_bytes <= MAX_METHOD_NAME_BYTES:
            raise ThriftBoundsError(f"a Thrift message declares a method name of {name_bytes} bytes")
        start = _HEADER.size
        method = bytes(data[start : start + name_bytes]).decode("ascii")
        (sequence_id,) = _I32.unpack_from(data, start + name_bytes)
    except (struct.error, UnicodeDecodeError) as error:
        raise ThriftBoundsError("truncated or damaged Thrift message") from error
    body = start + name_bytes + _I32.size
    _check(data, body, max_elements)
    return MessageHeader(method, version_and_type & 0xFF, sequence_id, body)


def fields_of_struct(data: bytes | bytearray, position: int) -> Iterator[Field]:
    """The fields of the struct at ``position`` of ``data``, which was checked before."""
    walk = _Walk(data, len(data))
    while (wire_type := data[position]) != _STOP:
        end = walk.value(wire_type, position + _FIELD.size, MAX_DEPTH)
        _, number = _FIELD.unpack_from(data, position)
        yield Field(wire_type, number, position, end)
        position = end


def _check(data: bytes | bytearray, start: int, max_elements: int) -> None:
    walk = _Walk(data, max_elements)
    try:
        end = walk.struct(start, MAX_DEPTH)
    except (struct.error, IndexError) as error:
        raise ThriftBoundsError("truncated Thrift struct") from error
    if end != len(data):
        raise ThriftBoundsError(f"{len(data) - end} bytes follow the Thrift struct")


class _Walk:
    """Each method takes the position of a value and returns the position behind it."""

    def __init__(self, data: bytes | bytearray, max_elements: int) -> None:
        self._data, self._size, self._elements_left = data, len(data), max_elements

    def struct(self, position: int, depth: int) -> int:
        if depth == 0:
            raise ThriftBoundsError(f"Thrift nests deeper than {MAX_DEPTH}")
        data = self._data
        while (field_type := data[position]) != _STOP:
            self._spend(1)
            position = self.value(field_type, position + 3, depth - 1)  # type and field number
        return position + 1

    def value(self, wire_type: int, position: int, depth: int) -> int:
        if (fixed := _FIXED_BYTES.get(wire_type)) is not None:
            return self._inside(position + fixed)
        if wire_type == _STRING:
            return self._strings(1, position)
        if wire_type == _STRUCT:
            return self.struct(position, depth)
        if wire_type in (_LIST_TYPE, _SET):
            element_type, count = _LIST.unpack_from(self._data, position)
            return self._elements(element_type, count, position + _LIST.size, depth)
        if wire_type == _MAP_TYPE:
            return self._map(position, depth)
        raise ThriftBoundsError(f"unknown Thrift type {wire_type}")

    def _elements(self, element_type: int, count: int, position: int, depth: int) -> int:
        if depth == 0:
            raise ThriftBoundsError(f"Thrift nests deeper than {MAX_DEPTH}")
        self._spend(count)
        if (fixed := _FIXED_BYTES.get(element_type)) is not None:
            return self._inside(position + fixed * count)
        if element_type == _STRING:
            return self._strings(count, position)
        for _ in range(count):
            position = self.value(element_type, position, depth - 1)
        return position

    def _map(self, position: int, depth: int) -> int:
        if depth == 0:
            raise ThriftBoundsError(f"Thrift nests deeper than {MAX_DEPTH}")
        key_type, value_type, count = _MAP.unpack_from(self._data, position)
        self._spend(count)
        position += _MAP.size
        for _ in range(count):
            position = self.value(key_type, position, depth - 1)
            position = self.value(value_type, position, depth - 1)
        return position

    def _strings(self, count: int, position: int) -> int:
        data, size, length_at = self._data, self._size, _I32.unpack_from
        for _ in range(count):
            (length,) = length_at(data, position)
            position += 4 + length
            if length < 0 or position > size:
                raise ThriftBoundsError(f"a Thrift string declares {length} bytes that are not there")
        return position

    def _inside(self, position: int) -> int:
        if position > self._size:
            raise ThriftBoundsError("a Thrift value declares more bytes than there are")
        return position

    def _spend(self, count: int) -> None:
        self._elements_left -= count
        if count < 0 or self._elements_left < 0:
            raise ThriftBoundsError(f"a Thrift container declares {count} elements: too many")
