"""Encoded records read and written by what they have in common.

All fields of a record but two, the signature of its image and the values, are the same for every image that
one pipeline sends through one signal on one day: its *kind*. The encodings of two records of a kind differ
in these two places only. So the bytes around them are learned once, from the encoder itself, and compared or
copied from then on, which costs a tenth of parsing. Every row of a night goes this way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from signals.record import SIGNATURE_PATTERN, SignalRecord

MAX_LAYOUTS = 1_024  # kinds that are remembered


class RecordKind(NamedTuple):
    """What records of many images have in common; see SignalRecord."""

    galaxy: str
    signal: str
    version: int
    day: int
    pipeline: str
    shape: tuple[int, ...]
    model_sha256: str


class KindRow(NamedTuple):
    """The content of one valid record."""

    kind: RecordKind
    image_signature: str
    values: bytes


class KindCodec:
    """One encoding, learned kind by kind. ``decode`` is the inverse of ``encode`` and accepts more than that;
    ``encode`` copies signature and values as they are."""

    def __init__(
        self, encode: Callable[[SignalRecord], bytes], decode: Callable[[bytes], SignalRecord]
    ) -> None:
        self._encode, self._decode = encode, decode
        self._by_kind: dict[RecordKind, _Layout] = {}
        self._by_size: dict[int, list[_Layout]] = {}

    def read(self, encoded: bytes) -> KindRow:
        """The content of one encoded record. Raises RecordError, as ``decode`` does."""
        for layout in self._by_size.get(len(encoded), ()):
            if (row := layout.read(encoded)) is not None:
                return row
        record = self._decode(encoded)
        row = KindRow(_kind_of(record), record.image_signature, record.values)
        self._layout(row)  # for the next one
        return row

    def write(self, row: KindRow) -> bytes:
        """The encoded record of a row that :meth:`read` gave, here or for another encoding."""
        return (self._by_kind.get(row.kind) or self._layout(row)).write(row)

    def _layout(self, row: KindRow) -> _Layout:
        if (layout := self._by_kind.get(row.kind)) is None:
            if len(self._by_kind) >= MAX_LAYOUTS:
                self._by_kind.clear()
                self._by_size.clear()
            layout = self._by_kind[row.kind] = _learn(row.kind, len(row.values), self._encode)
            self._by_size.setdefault(layout.size, []).append(layout)
        return layout


@dataclass(frozen=True, slots=True)
class _Layout:
    """The bytes before the signature, between it and the values, and after these."""

    kind: RecordKind
    size: int
    before: bytes
    signature_end: int
    between: bytes
    values_start: int
    values_end: int
    after: bytes

    def read(self, encoded: bytes) -> KindRow | None:
        """None for the record of another kind, or none of which this is known."""
        if (
            encoded.startswith(self.between, self.signature_end)
            and encoded.startswith(self.before)
            and encoded.endswith(self.after)
        ):
            signature = encoded[len(self.before) : self.signature_end].decode("latin-1")
            if SIGNATURE_PATTERN.fullmatch(signature):
                return KindRow(self.kind, signature, encoded[self.values_start : self.values_end])
        return None

    def write(self, row: KindRow) -> bytes:
        signature = row.image_signature.encode("ascii")
        return b"".join((self.before, signature, self.between, row.values, self.after))


def _learn(kind: RecordKind, values_bytes: int, encode: Callable[[SignalRecord], bytes]) -> _Layout:
    """Encode two records that differ in every byte of signature and values, and see where they differ."""
    one, other = (
        encode(SignalRecord(image_signature=digit * 32, values=fill * values_bytes, **kind._asdict()))
        for digit, fill in (("0", b"\x00"), ("f", b"\xff"))
    )
    differing = np.flatnonzero(np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8))
    start, end = int(differing[0]), int(differing[0]) + 32
    values_start = int(differing[32]) if values_bytes else len(one)
    values_end = values_start + values_bytes
    return _Layout(
        kind=kind,
        size=len(one),
        before=one[:start],
        signature_end=end,
        between=one[end:values_start],
        values_start=values_start,
        values_end=values_end,
        after=one[values_end:],
    )


def _kind_of(record: SignalRecord) -> RecordKind:
    return RecordKind(*(getattr(record, name) for name in RecordKind._fields))
