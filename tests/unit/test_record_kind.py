from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signals.encodings import (
    decode_protobuf,
    decode_thrift,
    encode_protobuf,
    encode_thrift,
    protobuf_kinds,
    thrift_kinds,
)
from signals.errors import RecordError
from signals.hive import HIVE_SCHEMA, hive_batches
from signals.hive_rows import BYTES_PER_BATCH, ROWS_PER_BATCH
from signals.record import SignalRecord
from signals.record_kind import KindCodec, KindRow
from tests.unit.record_strategies import record, records

Encode = Callable[[SignalRecord], bytes]
Decode = Callable[[bytes], SignalRecord]

both = pytest.mark.parametrize(
    ("encode", "decode"), [(encode_protobuf, decode_protobuf), (encode_thrift, decode_thrift)]
)


def content(row: KindRow) -> SignalRecord:
    return SignalRecord(image_signature=row.image_signature, values=row.values, **row.kind._asdict())


@both
@given(data=st.data())
def test_records_of_any_kinds_are_read_and_written_as_one_by_one(
    encode: Encode, decode: Decode, data: st.DataObject
) -> None:
    kinds = data.draw(st.lists(records(), min_size=1, max_size=3))
    codec = KindCodec(encode, decode)
    for number in data.draw(st.lists(st.integers(0, 2**128 - 1), min_size=2, max_size=6)):
        like = kinds[number % len(kinds)]
        values = data.draw(st.binary(min_size=len(like.values), max_size=len(like.values)))
        fields = {name: getattr(like, name) for name in SignalRecord.__slots__}
        original = SignalRecord(**{**fields, "image_signature": f"{number:032x}", "values": values})

        row = codec.read(encode(original))

        assert content(row) == original
        assert codec.write(row) == encode(original)


@both
@given(original=records(), data=st.data())
def test_whatever_bytes_come_they_are_read_as_the_decoder_reads_them(
    encode: Encode, decode: Decode, original: SignalRecord, data: st.DataObject
) -> None:
    codec = KindCodec(encode, decode)
    encoded = bytearray(encode(original))
    assert content(codec.read(bytes(encoded))) == original
    for _ in range(data.draw(st.integers(1, 3))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(encoded)
    try:
        expected = decode(damaged)
    except RecordError:
        with pytest.raises(RecordError):
            codec.read(damaged)
    else:
        assert content(codec.read(damaged)) == expected


def test_one_encoding_becomes_the_other() -> None:
    for number in range(3):
        row = protobuf_kinds.read(encode_protobuf(record(number)))
        assert thrift_kinds.write(row) == encode_thrift(record(number))


def test_batches_hold_the_rows_in_order_with_what_the_schema_asks_for() -> None:
    originals = [
        record(number, pipeline="shopping" if number % 3 else "crawled", day=number % 2)
        for number in range(ROWS_PER_BATCH + 5)
    ]
    rows = [thrift_kinds.read(encode_thrift(original)) for original in originals]
    schema = pa.schema([("galaxy", pa.string()), *HIVE_SCHEMA])

    batches = list(hive_batches(rows, schema))

    assert [batch.num_rows for batch in batches] == [ROWS_PER_BATCH, 5]
    assert pa.Table.from_batches(batches).to_pylist() == [
        {name: getattr(original, name) for name in schema.names} | {"shape": list(original.shape)}
        for original in originals
    ]
    assert list(hive_batches(iter(()))) == []


def test_a_batch_is_bounded_in_bytes() -> None:
    values = bytes(BYTES_PER_BATCH // 4)
    large = [record(number, values=values, shape=(len(values) // 4,)) for number in range(9)]
    rows = [thrift_kinds.read(encode_thrift(original)) for original in large]

    assert [batch.num_rows for batch in hive_batches(rows)] == [4, 4, 1]
