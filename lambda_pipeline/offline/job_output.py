"""What a nightly job leaves in the object store: its signals, after a head that accounts for its images.

The head is 8 bytes: how many of the job's images became signals, and how many became dead letters (two
big-endian 32-bit numbers). The signals follow as Protobuf records, each with its length (varint) before it.
One object, because a small PUT costs an object store as much as a large one.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from signals.encodings import split_delimited, write_delimited
from signals.errors import RecordError
from signals.record import SignalRecord

_HEAD = struct.Struct(">II")
HEAD_BYTES = _HEAD.size


class Tally(NamedTuple):
    """Where the images of a job have gone."""

    images: int  # became signals
    dead_letters: int


def output_key(prefix: str, images: Sequence[Mapping[str, str]]) -> str:
    """Where a job's output goes. It depends on the job's content alone: a repeated job overwrites."""
    content = "\n".join(f"{image['galaxy']}/{image['image_signature']}" for image in images)
    return f"{prefix}/signals/{hashlib.blake2b(content.encode(), digest_size=16).hexdigest()}.pb"


def encode_output(records: Sequence[SignalRecord], tally: Tally) -> bytes:
    """The whole object. A job without a signal leaves only a head."""
    stream = io.BytesIO()
    stream.write(_HEAD.pack(*tally))
    write_delimited(stream, records)
    return stream.getvalue()


def read_tally(head: bytes) -> Tally:
    """From the first HEAD_BYTES of an output. Raises RecordError where they are fewer."""
    if len(head) < HEAD_BYTES:
        raise RecordError(f"the output of a job has {len(head)} bytes, fewer than its head")
    return Tally(*_HEAD.unpack_from(head))


def encoded_records(output: bytes) -> Iterator[bytes]:
    """The Protobuf records of an output, not decoded. Raises RecordError for one that is damaged."""
    read_tally(output)
    stream = io.BytesIO(output)
    stream.seek(HEAD_BYTES)
    return split_delimited(stream)
