from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_pipeline.offline.job_output import (
    HEAD_BYTES,
    Tally,
    encode_output,
    encoded_records,
    output_key,
    read_tally,
)
from signals.encodings import decode_protobuf
from signals.errors import RecordError
from signals.record import SignalRecord
from tests.unit.record_strategies import records as signal_records

COUNTS = st.integers(0, 2**32 - 1)


@given(st.lists(signal_records(), max_size=4), COUNTS, COUNTS)
def test_records_and_tally_survive(records: list[SignalRecord], images: int, dead_letters: int) -> None:
    output = encode_output(records, Tally(images, dead_letters))

    assert read_tally(output[:HEAD_BYTES]) == (images, dead_letters)
    assert [decode_protobuf(encoded) for encoded in encoded_records(output)] == records


@pytest.mark.parametrize("size", range(HEAD_BYTES))
def test_an_output_without_its_head_is_refused(size: int) -> None:
    output = encode_output([], Tally(3, 1))[:size]
    with pytest.raises(RecordError, match="fewer than its head"):
        read_tally(output)
    with pytest.raises(RecordError, match="fewer than its head"):
        encoded_records(output)


def test_the_key_depends_on_the_jobs_images_alone() -> None:
    one, two = ({"galaxy": "pin", "image_signature": s, "object_key": s} for s in "ab")

    assert output_key("night", [one, two]) == output_key("night", [dict(one, object_key="x"), two])
    assert output_key("night", [one, two]) != output_key("night", [one])
    assert output_key("night", [one]).startswith("night/signals/")
