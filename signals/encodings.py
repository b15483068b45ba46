"""A signal record as Protobuf (what the offline workers write) and as Thrift (what the store holds).

Both hold the same content. The IDL files in ``signals/idl`` are the definition: the Protobuf descriptor is
built from the ``.proto`` at import, because generated code is bound to one major version of Protobuf.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import thriftpy2
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from thriftpy2.protocol import TCyBinaryProtocol
from thriftpy2.transport import TCyMemoryBuffer

from signals.errors import RecordError
from signals.record import MAX_DIMENSIONS, MAX_VALUES_BYTES, SignalRecord
from signals.record_kind import KindCodec
from signals.thrift_bounds import check_struct
from signals.thrift_record import PackedLayout

IDL_DIR = Path(__file__).parent / "idl"
MAX_RECORD_BYTES = MAX_VALUES_BYTES + 4096  # the other fields are short

_FIELDS = (
    *("image_signature", "galaxy", "signal", "version", "day"),
    *("pipeline", "shape", "values", "model_sha256"),
)
_MAX_VARINT_BYTES = 5  # enough for MAX_RECORD_BYTES
_MAX_ELEMENTS = len(_FIELDS) + MAX_DIMENSIONS + 16  # room for fields that a later version may add


def _protobuf_class() -> Any:
    text = re.sub(r"//[^\n]*", "", (IDL_DIR / "signal_record.proto").read_text("utf-8"))
    field_type = descriptor_pb2.FieldDescriptorProto
    types = {"string": field_type.TYPE_STRING, "bytes": field_type.TYPE_BYTES, "int32": field_type.TYPE_INT32}
    file = descriptor_pb2.FileDescriptorProto(
        name="lkbench/signal_record.proto", package="lkbench", syntax="proto3"
    )
    descriptor = file.message_type.add(name="SignalRecord")
    for repeated, type_name, name, number in re.findall(r"(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)\s*;", text):
        descriptor.field.add(
            name=name,
            number=int(number),
            type=types[type_name],
            label=field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("lkbench.SignalRecord"))


_Protobuf = _protobuf_class()
_Thrift = thriftpy2.load(
    str(IDL_DIR / "signal_record.thrift"), module_name="signal_record_thrift"
).SignalRecord
_thrift_layout = PackedLayout(_Thrift.thrift_spec)


def encode_protobuf(record: SignalRecord) -> bytes:
    """One Protobuf message, without a length before it."""
    encoded: bytes = _Protobuf(**{name: getattr(record, name) for name in _FIELDS}).SerializeToString()
    return encoded


def decode_protobuf(data: bytes) -> SignalRecord:
    """Inverse of :func:`encode_protobuf`. Raises RecordError."""
    try:
        decoded = _Protobuf.FromString(data)
    except (message.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"not a Protobuf signal record: {error}") from error
    return _record(decoded)


def write_delimited(stream: BinaryIO, records: Iterable[SignalRecord]) -> int:
    """Write each record's length (varint), then the record, as Protobuf. Returns the number of records."""
    count = 0
    for record in records:
        encoded = encode_protobuf(record)
        stream.write(_varint(len(encoded)) + encoded)
        count += 1
    return count


def read_delimited(stream: BinaryIO, max_bytes: int = MAX_RECORD_BYTES) -> Iterator[SignalRecord]:
    """Read what :func:`write_delimited` wrote, record by record.

    Raises RecordError for a record that is damaged, truncated or declares more than ``max_bytes``.
    """
    return map(decode_protobuf, split_delimited(stream, max_bytes))


def split_delimited(stream: BinaryIO, max_bytes: int = MAX_RECORD_BYTES) -> Iterator[bytes]:
    """The encoded records of what :func:`write_delimited` wrote, not decoded.

    Raises RecordError for one that is truncated or declares more than ``max_bytes``.
    """
    while (size := _read_varint(stream)) is not None:
        if size > max_bytes:
            raise RecordError(f"a record declares {size} bytes, more than {max_bytes}")
        encoded = stream.read(size)
        if len(encoded) != size:
            raise RecordError(f"the stream ends inside a record of {size} bytes")
        yield encoded


def encode_thrift(record: SignalRecord) -> bytes:
    """One Thrift struct in the binary protocol."""
    return _thrift_layout.pack(record)


def decode_thrift(data: bytes) -> SignalRecord:
    """Inverse of :func:`encode_thrift`. Raises RecordError."""
    if len(data) > MAX_RECORD_BYTES:
        raise RecordError(f"a record has {len(data)} bytes, more than {MAX_RECORD_BYTES}")
    if (fields := _thrift_layout.parse(data)) is not None:
        return SignalRecord(**fields)
    check_struct(data, _MAX_ELEMENTS)
    decoded = _Thrift()
    TCyBinaryProtocol(TCyMemoryBuffer(data)).read_struct(decoded)
    return _record(decoded)


# For many records: rows of a few kinds, without a SignalRecord for each.
protobuf_kinds = KindCodec(encode_protobuf, decode_protobuf)
thrift_kinds = KindCodec(encode_thrift, decode_thrift)


def _record(decoded: Any) -> SignalRecord:
    if decoded.shape is None:  # absent in Thrift; Protobuf has no absent list
        raise RecordError("a signal record has no shape")
    fields = {name: getattr(decoded, name) for name in _FIELDS}
    fields["shape"] = tuple(decoded.shape)
    return SignalRecord(**fields)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(stream: BinaryIO) -> int | None:
    """None at the end of the stream."""
    value = 0
    for position in range(_MAX_VARINT_BYTES):
        byte = stream.read(1)
        if not byte:
            if position == 0:
                return None
            raise RecordError("the stream ends inside a record's length")
        value |= (byte[0] & 0x7F) << (7 * position)
        if byte[0] < 0x80:
            return value
    raise RecordError("a record's length is not a number")
