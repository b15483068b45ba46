from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable

import pytest
import thriftpy2
from hypothesis import given
from hypothesis import strategies as st
from thriftpy2.protocol import TCyBinaryProtocol
from thriftpy2.transport import TCyMemoryBuffer

from signals.encodings import (
    IDL_DIR,
    MAX_RECORD_BYTES,
    decode_protobuf,
    decode_thrift,
    encode_protobuf,
    encode_thrift,
    read_delimited,
    write_delimited,
)
from signals.errors import RecordError
from signals.record import SignalRecord
from tests.unit.record_strategies import record, records

Decode = Callable[[bytes], SignalRecord]

both_decoders = pytest.mark.parametrize("decode", [decode_protobuf, decode_thrift])


@given(records())
def test_both_encodings_hold_the_same_content(original: SignalRecord) -> None:
    assert decode_protobuf(encode_protobuf(original)) == original
    assert decode_thrift(encode_thrift(original)) == original


@given(records())
def test_packed_thrift_is_what_the_generic_protocol_writes(original: SignalRecord) -> None:
    generic = thriftpy2.load(str(IDL_DIR / "signal_record.thrift")).SignalRecord
    buffer = TCyMemoryBuffer()
    values = {name: getattr(original, name) for _, name, *_ in generic.thrift_spec.values()}
    TCyBinaryProtocol(buffer).write_struct(generic(**values))

    assert encode_thrift(original) == buffer.getvalue()


def test_thrift_with_a_field_of_a_later_version_is_read_by_the_generic_decoder() -> None:
    later = encode_thrift(record())[:-1] + struct.pack(">Bhi", 8, 10, 7) + b"\0"

    assert decode_thrift(later) == record()


@given(st.lists(records(), max_size=5))
def test_delimited_stream_round_trips(originals: list[SignalRecord]) -> None:
    stream = io.BytesIO()

    assert write_delimited(stream, originals) == len(originals)

    stream.seek(0)
    assert list(read_delimited(stream)) == originals


def test_both_idl_files_name_the_same_fields() -> None:
    def fields(name: str, pattern: str) -> list[tuple[str, str]]:
        return sorted(re.findall(pattern, (IDL_DIR / name).read_text()))

    proto = [(number, name) for name, number in fields("signal_record.proto", r"(\w+) = (\d+);")]
    thrift = fields("signal_record.thrift", r"(\d+): \S+ (\w+)")

    assert sorted(proto) == thrift
    assert len(thrift) == 9


@both_decoders
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(decode: Decode, data: bytes) -> None:
    with pytest.raises(RecordError):
        decode(data)


@given(st.sampled_from([(encode_protobuf, decode_protobuf), (encode_thrift, decode_thrift)]), st.data())
def test_damaged_bytes_never_raise_anything_else(
    codec: tuple[Callable[[SignalRecord], bytes], Decode], data: st.DataObject
) -> None:
    encode, decode = codec
    encoded = bytearray(encode(record()))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    del encoded[data.draw(st.integers(0, len(encoded))) :]

    try:
        decoded = decode(bytes(encoded))
    except RecordError:
        return
    assert decoded.array().shape == decoded.shape


def test_thrift_that_declares_a_huge_list_is_refused_before_decoding() -> None:
    shape_of_two_billion = struct.pack(">BhBi", 15, 7, 8, 2**31 - 1)

    with pytest.raises(RecordError, match="too many"):
        decode_thrift(shape_of_two_billion + b"\0")


def test_thrift_that_declares_a_huge_value_is_refused_before_decoding() -> None:
    with pytest.raises(RecordError, match="not there"):
        decode_thrift(struct.pack(">Bhi", 11, 8, 2**31 - 1) + b"\0")


def test_thrift_with_bytes_behind_it_is_refused() -> None:
    with pytest.raises(RecordError, match="follow"):
        decode_thrift(encode_thrift(record()) + b"\0")


@both_decoders
def test_an_empty_message_is_no_record(decode: Decode) -> None:
    with pytest.raises(RecordError):
        decode(b"\0" if decode is decode_thrift else b"")


def test_a_field_of_a_later_version_is_ignored() -> None:
    later = struct.pack(">Bhi", 8, 99, 5)
    assert decode_thrift(later + encode_thrift(record())) == record()
    assert decode_protobuf(b"\x98\x06\x05" + encode_protobuf(record())) == record()


def stream_of(data: bytes) -> list[SignalRecord]:
    return list(read_delimited(io.BytesIO(data)))


def test_a_stream_cut_anywhere_is_refused_unless_between_records() -> None:
    stream = io.BytesIO()
    write_delimited(stream, [record(1)])
    boundary = stream.tell()
    write_delimited(stream, [record(2)])
    data = stream.getvalue()

    assert stream_of(data[:boundary]) == [record(1)]
    for end in range(boundary + 1, len(data)):
        with pytest.raises(RecordError):
            stream_of(data[:end])


@pytest.mark.parametrize(
    "length", [b"\xff\xff\xff\xff\x07", b"\xff" * 20, b"\x80", (b"\x81\x80\x80\x80\x80\x80\x00")]
)
def test_a_hostile_length_is_refused_without_reading_on(length: bytes) -> None:
    with pytest.raises(RecordError):
        stream_of(length)


def test_records_before_the_damage_are_delivered() -> None:
    stream = io.BytesIO()
    write_delimited(stream, [record(1)])
    reader = read_delimited(io.BytesIO(stream.getvalue() + b"\x01\xff"))

    assert next(reader) == record(1)
    with pytest.raises(RecordError):
        next(reader)


def test_the_cap_holds_the_largest_record() -> None:
    stream = io.BytesIO()
    large = record(shape=(2**21,), values=bytes(2**23))
    write_delimited(stream, [large])

    assert stream.tell() <= MAX_RECORD_BYTES
    assert stream_of(stream.getvalue()) == [large]
    with pytest.raises(RecordError, match="more than 1000"):
        list(read_delimited(io.BytesIO(stream.getvalue()), max_bytes=1000))
