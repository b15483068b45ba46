"""The signal record: one named, versioned signal of one image, and the key that it is found under."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from signals.errors import RecordError

MAX_DIMENSIONS = 8
MAX_VALUES_BYTES = 8 * 2**20
MAX_INT32 = 2**31 - 1

_NAME = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
SIGNATURE_PATTERN = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LITTLE_ENDIAN_FLOAT32 = np.dtype("<f4")


def record_key(galaxy: str, signal: str, version: int, signature: str) -> bytes:
    """Key in Rockstore. Galaxy and signal come first, so that a galaxy's signal is one key range."""
    return f"{galaxy}/{signal}/v{version}/{signature}".encode()


@dataclass(frozen=True, slots=True)
class SignalRecord:
    """One signal of one image. Raises RecordError where the fields contradict each other."""

    image_signature: str  # 32 hex characters
    galaxy: str
    signal: str
    version: int
    day: int  # the day of the arrival that it was computed for
    pipeline: str
    shape: tuple[int, ...]
    values: bytes  # little-endian float32, packed, row-major
    model_sha256: str

    def __post_init__(self) -> None:
        _match(SIGNATURE_PATTERN, "image_signature", self.image_signature)
        kind = (self.galaxy, self.signal, self.version, self.day, self.pipeline, self.model_sha256)
        try:
            _check_kind(*kind)
        except TypeError:  # a value that can't be hashed is none of the right type: say which
            _check_kind.__wrapped__(*kind)
        if not isinstance(self.shape, tuple) or len(self.shape) > MAX_DIMENSIONS:
            raise RecordError(f"shape must be a tuple of at most {MAX_DIMENSIONS} integers")
        for dimension in self.shape:
            _in_int32("shape", dimension)
        if not isinstance(self.values, bytes) or len(self.values) != 4 * math.prod(self.shape):
            raise RecordError(f"values do not hold {self.shape} packed float32 numbers")
        if len(self.values) > MAX_VALUES_BYTES:
            raise RecordError(f"a signal of shape {self.shape} is larger than {MAX_VALUES_BYTES} bytes")

    @property
    def key(self) -> bytes:
        """Key in Rockstore, see :func:`record_key`."""
        return record_key(self.galaxy, self.signal, self.version, self.image_signature)

    def array(self) -> npt.NDArray[np.float32]:
        """The values as a read-only little-endian float32 array of ``shape``; no copy is made."""
        return np.frombuffer(self.values, dtype=_LITTLE_ENDIAN_FLOAT32).reshape(self.shape)

    @classmethod
    def from_array(
        cls,
        array: npt.NDArray[np.float32],
        *,
        image_signature: str,
        galaxy: str,
        signal: str,
        version: int,
        day: int,
        pipeline: str,
        model_sha256: str,
    ) -> SignalRecord:
        """Pack ``array`` (float32, any shape). Raises RecordError for another dtype."""
        if array.dtype != np.float32:
            raise RecordError(f"signal {signal} is {array.dtype}, it must be float32")
        return cls(
            image_signature=image_signature,
            galaxy=galaxy,
            signal=signal,
            version=version,
            day=day,
            pipeline=pipeline,
            shape=array.shape,
            values=array.astype(_LITTLE_ENDIAN_FLOAT32, copy=False).tobytes(),
            model_sha256=model_sha256,
        )


def _match(pattern: re.Pattern[str], field: str, value: object) -> None:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise RecordError(f"{field} of a signal record is {str(value)[:80]!r}, not {pattern.pattern}")


@functools.lru_cache(maxsize=4_096, typed=True)
def _check_kind(
    galaxy: object, signal: object, version: object, day: object, pipeline: object, model_sha256: object
) -> None:
    """What millions of records have in common is checked once."""
    _match(_NAME, "galaxy", galaxy)
    _match(_NAME, "signal", signal)
    _in_int32("version", version)
    _in_int32("day", day)
    _match(_NAME, "pipeline", pipeline)
    _match(_SHA256, "model_sha256", model_sha256)


def _in_int32(field: str, value: object) -> None:
    if type(value) is not int or not 0 <= value <= MAX_INT32:
        raise RecordError(f"{field} of a signal record is {str(value)[:80]!r}, not a number from 0 to 2^31-1")
