"""Reads what comes from the media topic, which anybody may have written to."""

from __future__ import annotations

import re

from signals.architecture import MediaEvent
from signals.catalog import Catalog
from signals.errors import ImageError

_SIGNATURE = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MAX_INT32, _MAX_INT64 = 2**31 - 1, 2**63 - 1  # what the ledger keeps
_MAX_KEY_BYTES = 1024  # S3's own limit
_MAX_DETAIL = 200  # characters of what a message says about itself


def parse_media_event(value: bytes, catalog: Catalog) -> MediaEvent:
    """The event in a message's value. Raises ImageError ``unreadable_event``, with what is wrong, for
    anything but a heartbeat or an event of a pipeline in the catalog."""
    try:
        event = MediaEvent.from_bytes(value)
    except (ValueError, TypeError) as error:
        raise ImageError("unreadable_event", str(error)[:_MAX_DETAIL]) from error
    if not _is_number(event.scheduled_ns, _MAX_INT64) or event.kind not in ("media", "heartbeat"):
        raise ImageError("unreadable_event", "scheduled_ns or kind is of the wrong kind")
    if event.kind == "media":
        _check(event, catalog)
    return event


def _check(event: MediaEvent, catalog: Catalog) -> None:
    if not (_is_number(event.event_id, _MAX_INT64) and _is_number(event.day, _MAX_INT32)):
        raise ImageError("unreadable_event", "event_id or day is not a number of its range")
    if not _is_number(event.lateness_ns, _MAX_INT64):
        raise ImageError("unreadable_event", "lateness_ns is not a number of its range")
    if not isinstance(event.object_key, str) or not isinstance(event.image_signature, str):
        raise ImageError("unreadable_event", "object_key or image_signature is no string")
    if len(event.object_key.encode()) > _MAX_KEY_BYTES:
        raise ImageError("unreadable_event", f"object_key is longer than {_MAX_KEY_BYTES} bytes")
    if _SIGNATURE.fullmatch(event.image_signature) is None:
        raise ImageError("unreadable_event", f"image signature {event.image_signature[:80]!r}")
    spec = catalog.pipelines.get(event.pipeline) if isinstance(event.pipeline, str) else None
    if spec is None or spec.galaxy != event.galaxy:
        detail = f"pipeline {str(event.pipeline)[:80]!r} of galaxy {str(event.galaxy)[:80]!r}"
        raise ImageError("unreadable_event", f"the catalog has no {detail}")


def _is_number(value: object, largest: int) -> bool:
    return type(value) is int and 0 <= value <= largest
