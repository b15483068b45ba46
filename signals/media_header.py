"""Reads what an image file claims to be, from its bytes alone, before any decoder sees it.

Decoders disagree on broken files and allocate whatever a header asks for. So format, dimensions,
orientation and animation are read here, with bounds checked at every step and nothing inflated.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from signals.errors import ImageError

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# A progressive JPEG may repaint the whole image in every scan; libjpeg-turbo's own fuzzers stop at 500.
MAX_JPEG_SCANS = 500
_JPEG_SOF_SUPPORTED = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive
_JPEG_SOF_OTHER = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
# Chunks that decide the pixels. Everything else (text, profiles, thumbnails) never reaches the decoder.
_PNG_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}


@dataclass(frozen=True, slots=True)
class MediaHeader:
    """What the file claims. ``payload`` is what a decoder needs of it: metadata may be left out."""

    format: str  # jpeg, png, webp
    width: int
    height: int
    orientation: int  # EXIF, 1 to 8; 1 where absent or unreadable
    payload: bytes
    channels: int = 0  # JPEG only: components per pixel


def read_header(data: bytes) -> MediaHeader:
    """Parse the container. Raises ImageError: empty, unsupported_format, truncated, corrupt, animated."""
    if not data:
        raise ImageError("empty", "the file has 0 bytes")
    if data.startswith(b"\xff\xd8\xff"):
        header = _read_jpeg(data)
    elif data.startswith(PNG_MAGIC):
        header = _read_png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        header = _read_webp(data)
    else:
        raise ImageError("unsupported_format", f"starts with {data[:8]!r}; not JPEG, PNG or WebP")
    if header.width == 0 or header.height == 0:
        raise ImageError("corrupt", f"the header says {header.width} x {header.height} pixels")
    return header


def _read_jpeg(data: bytes) -> MediaHeader:
    frame: tuple[int, int, int] | None = None
    orientation = 0
    for marker, segment in _jpeg_segments(data):
        if marker in _JPEG_SOF_OTHER:
            raise ImageError("unsupported_format", f"JPEG coding process {marker:#x}")
        if marker in _JPEG_SOF_SUPPORTED:
            if frame is not None or len(segment) < 6:
                raise ImageError("corrupt", "JPEG with a malformed frame header")
            precision, height, width, channels = struct.unpack_from(">BHHB", segment)
            if precision != 8:
                raise ImageError("unsupported_format", f"JPEG with {precision} bits per sample")
            frame = width, height, channels
        if marker == 0xE1 and not orientation and segment.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(segment[6:])
    if frame is None:
        raise ImageError("corrupt", "JPEG without a frame header")
    # In entropy-coded data 0xFF is always followed by 0x00 or a restart marker, so this counts scans.
    if (scans := data.count(b"\xff\xda")) > MAX_JPEG_SCANS:
        raise ImageError("corrupt", f"JPEG with {scans} scans, more than {MAX_JPEG_SCANS}")
    return MediaHeader("jpeg", frame[0], frame[1], orientation or 1, data, channels=frame[2])


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of each segment before the first scan."""
    position = 2
    while True:
        if position + 4 > len(data):
            raise ImageError("truncated", "JPEG ends inside its header")
        if data[position] != 0xFF:
            raise ImageError("corrupt", f"JPEG without a marker at byte {position}")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xDA:
            return
        if marker in {0x00, 0x01, 0xD8, 0xD9} or 0xD0 <= marker <= 0xD7:
            raise ImageError("corrupt", f"JPEG with marker {marker:#x} inside its header")
        (length,) = struct.unpack_from(">H", data, position + 2)
        if length < 2:
            raise ImageError("corrupt", f"JPEG with a segment of {length} bytes")
        if position + 2 + length > len(data):
            raise ImageError("truncated", "JPEG ends inside its header")
        yield marker, data[position + 4 : position + 2 + length]
        position += 2 + length


def _read_png(data: bytes) -> MediaHeader:
    payload = [PNG_MAGIC]
    width = height = orientation = 0
    kinds: list[bytes] = []
    for kind, chunk in png_chunks(data):
        content = chunk[8:-4]
        if kind == b"IHDR" and len(content) == 13 and not kinds:
            width, height = struct.unpack_from(">II", content)
        elif kind == b"acTL" and content[:4] != b"\0\0\0\1":
            raise ImageError("animated", "PNG with more than one frame")
        elif kind == b"eXIf":
            orientation = orientation or _exif_orientation(content)
        if kind in _PNG_PIXEL_CHUNKS:
            payload.append(chunk)
        kinds.append(kind)
    if not width or kinds.count(b"IHDR") != 1:
        raise ImageError("corrupt", "PNG without one valid header chunk")
    if b"IDAT" not in kinds:
        raise ImageError("corrupt", "PNG without image data")
    return MediaHeader("png", width, height, orientation or 1, b"".join(payload))


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, whole chunk) up to and including IEND; every checksum is verified."""
    position = len(PNG_MAGIC)
    while True:
        if position + 12 > len(data):
            raise ImageError("truncated", "PNG ends without its end chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        if length > 0x7FFF_FFFF:
            raise ImageError("corrupt", f"PNG with a chunk of {length} bytes")
        end = position + 12 + length
        if end > len(data):
            raise ImageError("truncated", f"PNG ends inside its {kind!r} chunk")
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageError("corrupt", f"PNG with a wrong checksum in its {kind!r} chunk")
        yield kind, data[position:end]
        if kind == b"IEND":
            return
        position = end


def _read_webp(data: bytes) -> MediaHeader:
    declared = int.from_bytes(data[4:8], "little") + 8
    if declared > len(data):
        raise ImageError("truncated", f"WebP of {declared} bytes ends after {len(data)}")
    data = data[:declared]
    canvas: tuple[int, int] | None = None
    frame: tuple[int, int] | None = None
    orientation = 0
    position = 12
    while position + 8 <= len(data):
        kind = data[position : position + 4]
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        content = data[position + 8 : position + 8 + size]
        if len(content) < size:
            raise ImageError("corrupt", f"WebP with a {kind!r} chunk beyond the end")
        if kind == b"VP8X" and size >= 10:
            if content[0] & 0x02:
                raise ImageError("animated", "WebP with an animation")
            canvas = int.from_bytes(content[4:7], "little") + 1, int.from_bytes(content[7:10], "little") + 1
        elif kind == b"VP8 " and size >= 10 and content[3:6] == b"\x9d\x01\x2a":
            frame = frame or (
                int.from_bytes(content[6:8], "little") & 0x3FFF,
                int.from_bytes(content[8:10], "little") & 0x3FFF,
            )
        elif kind == b"VP8L" and size >= 5 and content[0] == 0x2F:
            bits = int.from_bytes(content[1:5], "little")
            frame = frame or ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif kind == b"EXIF":
            orientation = orientation or _exif_orientation(content.removeprefix(b"Exif\0\0"))
        position += 8 + size + size % 2
    if frame is None or (canvas is not None and canvas != frame):
        raise ImageError("corrupt", "WebP without one frame of the declared size")
    return MediaHeader("webp", frame[0], frame[1], orientation or 1, data)


def _exif_orientation(tiff: bytes) -> int:
    """Orientation 1 to 8 of a TIFF block, 0 if it has none that can be read (EXIF is not the image)."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    try:
        if order is None:
            return 0
        (offset,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        for index in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, offset + 2 + 12 * index)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 0
    except struct.error:
        pass
    return 0
