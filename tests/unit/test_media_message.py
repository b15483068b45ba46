from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from kappa_pipeline.media_message import parse_media_event
from signals.architecture import MediaEvent
from signals.catalog import Catalog
from signals.errors import ImageError

EVENT = MediaEvent(7, "ab" * 16, "crawled", "pins", 0, time.time_ns(), "images/ab")


def message(**changed: Any) -> bytes:
    return orjson.dumps({**orjson.loads(EVENT.to_bytes()), **changed})


def test_an_event_is_read_as_it_was_written() -> None:
    assert parse_media_event(message(), Catalog.load()) == EVENT


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"event_id": 2**63}, "event_id or day"),
        ({"event_id": True}, "event_id or day"),
        ({"day": 2**31}, "event_id or day"),
        ({"scheduled_ns": 2**63}, "scheduled_ns"),
        ({"scheduled_ns": -1}, "scheduled_ns"),
        ({"lateness_ns": [[]]}, "lateness_ns"),
        ({"object_key": "x" * 1025}, "longer than 1024"),
        ({"image_signature": "x" * 1_000_000}, "image signature"),
        ({"pipeline": "y" * 1_000_000}, "catalog has no"),
        ({"z" * 1_000_000: 1}, "unreadable_event"),
    ],
)
def test_what_no_ledger_or_letter_could_hold_is_unreadable(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ImageError, match=said) as refused:
        parse_media_event(message(**changed), Catalog.load())
    assert refused.value.reason == "unreadable_event"
    assert len(refused.value.detail) < 300
