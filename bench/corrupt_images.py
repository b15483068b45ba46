"""Every kind of file that goes wrong in practice, with the verdict that both architectures must reach."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.data import data_dir

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_BOMB_SIDE_PX = 40_000  # 1.6 billion gray pixels in about 2 MB
_HIDDEN_BOMB_BYTES = 1 << 30
_LARGEST_POISON_BYTES = 1 << 19  # many of them are staged, so none that is made to be large


@dataclass(frozen=True, slots=True)
class CorruptImage:
    """A file and what must become of it: ``reason`` of its dead letter, or "" if it is a correct image."""

    name: str
    data: bytes
    reason: str


def corrupt_images() -> tuple[CorruptImage, ...]:
    """The samples, the same bytes at every call. Their contents differ from each other."""
    jpeg = _encode(_photo(0), "JPEG", quality=90)
    png = _encode(_photo(1), "PNG")
    return (
        CorruptImage("truncated.jpg", jpeg[: len(jpeg) // 2], "truncated"),
        CorruptImage("truncated.png", png[: len(png) // 2], "truncated"),
        CorruptImage("empty.jpg", b"", "empty"),
        CorruptImage("page.jpg", _html(), "unsupported_format"),
        CorruptImage("noise.jpg", jpeg[:2] + bytes(range(256)) * 8, "unsupported_format"),
        CorruptImage("bit_flip.png", _with_bit_flip(_encode(_photo(2), "PNG")), "corrupt"),
        CorruptImage("animated.gif", _animated("GIF"), "unsupported_format"),
        CorruptImage("animated.webp", _animated("WEBP"), "animated"),
        CorruptImage("animated.png", _animated("PNG"), "animated"),
        CorruptImage("still.gif", _encode(_photo(3), "GIF"), "unsupported_format"),
        CorruptImage("65000_x_65000.jpg", _with_size(_encode(_photo(4), "JPEG"), 65_000), "too_many_pixels"),
        CorruptImage("inflates_to_gigabytes.png", _bomb(), "too_many_pixels"),
        CorruptImage("actually_a_png.jpg", _encode(_photo(5), "PNG"), ""),
        CorruptImage("cmyk.jpg", _encode(_photo(6).convert("CMYK"), "JPEG"), ""),
        CorruptImage("gray.jpg", _encode(_photo(7).convert("L"), "JPEG"), ""),
        CorruptImage("gray_16_bit.png", _gray_16_bit(), ""),
        CorruptImage("transparent.png", _transparent(), ""),
        CorruptImage("rotated_by_exif.jpg", _rotated_by_exif(), ""),
        CorruptImage("photo.webp", _encode(_photo(11), "WEBP"), ""),
        CorruptImage("more_data_than_pixels.png", _hidden_bomb(), ""),
    )


@functools.cache
def _broken() -> tuple[CorruptImage, ...]:
    """The samples that end as dead letters and that a mark can tell apart; none is empty, none is large."""
    samples = (sample for sample in corrupt_images() if sample.reason)
    return tuple(sample for sample in samples if 0 < len(sample.data) <= _LARGEST_POISON_BYTES)


def poison_image(number: int) -> CorruptImage:
    """Broken file ``number`` of endlessly many, all different, the same bytes at every call."""
    sample = _broken()[number % len(_broken())]
    return CorruptImage(f"{number:05}_{sample.name}", _marked(sample.data, number), sample.reason)


def _marked(data: bytes, number: int) -> bytes:
    """The same kind of file with ``number`` in it, where the reasons to refuse it are not touched."""
    mark = f"poison {number}".encode()
    if data.startswith(_PNG_MAGIC):
        after_header = len(_PNG_MAGIC) + 25  # IHDR: 12 bytes of frame, 13 of content
        return data[:after_header] + _chunk(b"tEXt", b"Comment\0" + mark) + data[after_header:]
    if data.startswith(b"\xff\xd8\xff"):
        return data[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(mark)) + mark + data[2:]
    if data.startswith(b"RIFF"):
        padded = mark + b"\0" * (len(mark) % 2)
        chunks = data[8:] + b"XMRK" + struct.pack("<I", len(mark)) + padded
        return b"RIFF" + struct.pack("<I", len(chunks)) + chunks
    return data + mark


def _photo(number: int) -> Image.Image:
    """Another 160 x 120 crop of a photograph for each number."""
    with Image.open(Path(data_dir) / "chelsea.png") as image:
        left, top = 20 * (number % 12), 10 * (number % 12)
        return image.convert("RGB").crop((left, top, left + 160, top + 120))


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _html() -> bytes:
    return b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>gone</body></html>"


def _animated(kind: str) -> bytes:
    return _encode(_photo(8), kind, save_all=True, append_images=[_photo(9)], duration=100)


def _gray_16_bit() -> bytes:
    gray = np.asarray(_photo(10).convert("L")).astype(np.uint16) * 257
    return _encode(Image.fromarray(gray), "PNG")


def _transparent() -> bytes:
    image = _photo(9).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return _encode(image, "PNG")


def _rotated_by_exif() -> bytes:
    image = _photo(10)
    exif = image.getexif()
    exif[0x0112] = 6
    return _encode(image, "JPEG", exif=exif)


def _with_bit_flip(png: bytes) -> bytes:
    damaged = bytearray(png)
    damaged[len(png) // 2] ^= 1
    return bytes(damaged)


def _with_size(jpeg: bytes, side_px: int) -> bytes:
    """The same file with another size in its frame header."""
    frame = jpeg.index(b"\xff\xc0")
    return jpeg[: frame + 5] + struct.pack(">HH", side_px, side_px) + jpeg[frame + 9 :]


def _bomb() -> bytes:
    """Small on disk, gigabytes of pixels, and honest about it."""
    return _black_png(_BOMB_SIDE_PX, _BOMB_SIDE_PX * (1 + _BOMB_SIDE_PX))


def _hidden_bomb() -> bytes:
    """An image of 64 x 64 whose data go on for a gigabyte; a decoder must stop at its last row."""
    return _black_png(64, _HIDDEN_BOMB_BYTES)


def _black_png(side_px: int, data_bytes: int) -> bytes:
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 0, 0, 0, 0)
    data = _deflated_zeros(data_bytes)
    return _PNG_MAGIC + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _deflated_zeros(size: int) -> bytes:
    """A zlib stream of at least ``size`` zeros: one compressed block, repeated, because it takes no time."""
    block = bytes(1 << 20)
    compress = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    repeated = compress.compress(block) + compress.flush(zlib.Z_FULL_FLUSH)
    times = -(-size // len(block))
    checksum = (times * len(block) % 65521) << 16 | 1  # Adler-32 of zeros
    return b"\x78\xda" + repeated * times + compress.flush() + struct.pack(">I", checksum)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
