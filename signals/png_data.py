"""Checks that a PNG carries as much pixel data as its header promises.

Decoders stop quietly where the data stops and leave the remaining rows black; checksums can't tell, when
the file was written so.
"""

from __future__ import annotations

import zlib

from signals.errors import ImageError
from signals.media_header import png_chunks

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_BIT_DEPTHS = {1, 2, 4, 8, 16}
# First column and row, and steps, of the seven passes of an interlaced image.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_WINDOW_BYTES = 1 << 16


def check_png_data(payload: bytes) -> None:
    """Inflate the image data of a PNG, a window at a time and never past the promised size.

    Raises ImageError: truncated when it ends early, corrupt when it can't be inflated.
    """
    expected, inflated = 0, 0
    stream = zlib.decompressobj()
    try:
        for kind, chunk in png_chunks(payload):
            if kind == b"IHDR":
                expected = _data_bytes(chunk[8:-4])
            elif kind == b"IDAT":
                waiting = chunk[8:-4]
                while waiting and inflated < expected:
                    inflated += len(stream.decompress(waiting, _WINDOW_BYTES))
                    waiting = stream.unconsumed_tail
    except zlib.error as error:
        raise ImageError("corrupt", f"PNG data: {error}") from error
    if inflated < expected:
        raise ImageError("truncated", f"PNG with {inflated} bytes of image data instead of {expected}")


def _data_bytes(header: bytes) -> int:
    """Size of the filtered image data that the content of an IHDR chunk promises."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, colour, interlaced = header[8], header[9], header[12]
    if colour not in _CHANNELS or depth not in _BIT_DEPTHS or interlaced > 1:
        raise ImageError("corrupt", f"PNG of colour type {colour}, depth {depth}, interlace {interlaced}")
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * depth * _CHANNELS[colour] + 7) // 8)
    return total
