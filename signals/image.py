"""An image's identity, and the one strict and bounded decoder that both architectures use."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from signals.catalog import MediaConfig
from signals.errors import ImageError
from signals.media_header import MediaHeader, read_header
from signals.png_data import check_png_data

RgbImage = npt.NDArray[np.uint8]
_BACKGROUND = 255  # transparent pixels show white


def image_signature(data: bytes) -> str:
    """Content hash of the image's bytes: 32 lower case hex characters; the key of everything."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def decode_image(data: bytes, media: MediaConfig) -> RgbImage:
    """Decode to upright RGB: uint8 (height, width, 3), C-contiguous.

    The content decides the format, not a file name. EXIF orientation is applied, transparency is laid
    over white, 16-bit samples keep their high byte, gray and CMYK become RGB, colour profiles are ignored.

    Raises ImageError with reason empty, unsupported_format, too_many_bytes, too_many_pixels, truncated,
    corrupt or animated. The checks of bytes and pixels come before anything is allocated.
    """
    if len(data) > media.max_bytes:
        raise ImageError("too_many_bytes", f"{len(data)} bytes, allowed are {media.max_bytes}")
    header = read_header(data)
    if header.format not in media.formats:
        raise ImageError("unsupported_format", f"{header.format}; allowed are {', '.join(media.formats)}")
    if header.width * header.height > media.max_pixels:
        raise ImageError(
            "too_many_pixels", f"{header.width} x {header.height} pixels, allowed are {media.max_pixels}"
        )
    pixels = _decode_jpeg(header) if header.format == "jpeg" else _decode_with_pillow(header)
    if pixels.shape != (header.height, header.width, 3):
        raise ImageError("corrupt", f"decoded to {pixels.shape[1]} x {pixels.shape[0]}, unlike the header")
    return np.ascontiguousarray(_upright(pixels, header.orientation))


def _decode_jpeg(header: MediaHeader) -> RgbImage:
    cmyk = header.channels == 4
    try:
        pixels: RgbImage = simplejpeg.decode_jpeg(header.payload, "CMYK" if cmyk else "RGB", strict=True)
    except ValueError as error:
        raise ImageError("truncated" if "remature end" in str(error) else "corrupt", str(error)) from error
    if not cmyk:
        return pixels
    # CMYK JPEGs are stored inverted (Adobe's convention, which Pillow and browsers assume too).
    ink, black = pixels[..., :3].astype(np.uint16), pixels[..., 3:].astype(np.uint16)
    return ((ink * black + 127) // 255).astype(np.uint8)


def _decode_with_pillow(header: MediaHeader) -> RgbImage:
    if header.format == "png":
        check_png_data(header.payload)
    try:
        with Image.open(io.BytesIO(header.payload), formats=[header.format.upper()]) as image:
            if image.size != (header.width, header.height):
                raise ImageError("corrupt", f"two readers of the header disagree on its size: {image.size}")
            image.load()
            if image.mode.startswith("I"):
                return _from_gray16(image)
            if image.has_transparency_data:
                return _over_white(np.asarray(image.convert("RGBA")))
            return np.asarray(image.convert("RGB"))
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # whatever a decoder raises on hostile bytes, it is this image's fault
        reason = "truncated" if "truncated" in str(error) else "corrupt"
        raise ImageError(reason, f"{type(error).__name__}: {error}") from error


def _from_gray16(image: Image.Image) -> RgbImage:
    samples = np.asarray(image).astype(np.uint16)
    gray = (samples >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if transparent is not None:
        gray = np.where(samples == transparent, np.uint8(_BACKGROUND), gray)
    return np.repeat(gray[..., None], 3, axis=2)


def _over_white(rgba: npt.NDArray[np.uint8]) -> RgbImage:
    alpha = rgba[..., 3:].astype(np.uint16)
    blended = rgba[..., :3] * alpha + _BACKGROUND * (255 - alpha)
    return ((blended + 127) // 255).astype(np.uint8)


def _upright(pixels: RgbImage, orientation: int) -> RgbImage:
    """Undo the rotation and mirroring that an EXIF orientation of 1 to 8 describes."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return pixels
