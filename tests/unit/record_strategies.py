"""Signal records as hypothesis draws them, and a plain one to vary."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from signals.record import SignalRecord

_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789_", min_size=1, max_size=64)


def _hex(length: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=length, max_size=length)


@st.composite
def records(draw: st.DrawFn) -> SignalRecord:
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    size = 4 * math.prod(shape)
    return SignalRecord(
        image_signature=draw(_hex(32)),
        galaxy=draw(_names),
        signal=draw(_names),
        version=draw(st.integers(0, 2**31 - 1)),
        day=draw(st.integers(0, 2**31 - 1)),
        pipeline=draw(_names),
        shape=shape,
        values=draw(st.binary(min_size=size, max_size=size)),
        model_sha256=draw(_hex(64)),
    )


def record(number: int = 0, **changes: object) -> SignalRecord:
    """The record of image ``number``."""
    fields: dict[str, object] = {
        "image_signature": f"{number:032x}",
        "galaxy": "pins",
        "signal": "visual_embedding",
        "version": 1,
        "day": 0,
        "pipeline": "crawled",
        "shape": (2,),
        "values": b"\x00\x00\x80\x3f\x00\x00\x00\x40",
        "model_sha256": "ab" * 32,
    }
    return SignalRecord(**{**fields, **changes})  # type: ignore[arg-type]
