from __future__ import annotations

import numpy as np
import pytest

from signals.errors import RecordError
from signals.record import MAX_VALUES_BYTES, SignalRecord, record_key
from tests.unit.record_strategies import record


def from_array(array: np.ndarray) -> SignalRecord:
    return SignalRecord.from_array(
        array,
        image_signature="0" * 32,
        galaxy="pins",
        signal="visual_embedding",
        version=1,
        day=0,
        pipeline="crawled",
        model_sha256="ab" * 32,
    )


def test_values_are_little_endian_float32() -> None:
    assert record().array().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("shape", [(), (1280,), (5, 2), (0,)])
def test_an_array_survives_packing(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).random(shape, dtype=np.float32)

    packed = from_array(array)

    assert packed.shape == shape
    np.testing.assert_array_equal(packed.array(), array)


def test_a_strided_or_big_endian_array_is_packed_by_value() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)

    assert from_array(array.T).array().tolist() == array.T.tolist()
    assert from_array(array[:, ::2]).array().tolist() == [[0, 2], [3, 5]]


def test_another_dtype_is_refused() -> None:
    with pytest.raises(RecordError, match="float64"):
        from_array(np.zeros(3))


def test_key_orders_a_galaxys_signal_into_one_range() -> None:
    assert record().key == record_key("pins", "visual_embedding", 1, f"{0:032x}")
    assert record().key == b"pins/visual_embedding/v1/" + b"0" * 32


@pytest.mark.parametrize(
    "changes",
    [
        {"image_signature": "A" * 32},
        {"image_signature": "a" * 31},
        {"image_signature": "a" * 32 + "\n"},
        {"image_signature": b"a" * 32},
        {"galaxy": "pins/x"},
        {"galaxy": ""},
        {"signal": "Visual"},
        {"pipeline": "ü"},
        {"model_sha256": ""},
        {"version": -1},
        {"version": 2**31},
        {"version": True},
        {"day": 1.0},
        {"shape": [2]},
        {"shape": (3,)},
        {"shape": (-2,)},
        {"shape": (1,) * 9, "values": b"0000"},
        {"values": b"\0" * 7},
        {"values": bytearray(8)},
        {"shape": (MAX_VALUES_BYTES // 4 + 1,), "values": bytes(MAX_VALUES_BYTES + 4)},
    ],
)
def test_fields_that_make_no_record_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        record(**changes)
