from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from signals.catalog import MediaConfig
from signals.errors import ImageError
from signals.image import decode_image, image_signature
from signals.media_header import MAX_JPEG_SCANS, PNG_MAGIC
from signals.preprocess import PreprocessSpec, prepare

MEDIA = MediaConfig(("jpeg", "png", "webp"), max_bytes=1_000_000, max_pixels=250_000, priority=1)
ORIENTATION = 0x0112
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def photo(height: int = 60, width: int = 90) -> np.ndarray:
    """Smooth, so that JPEG keeps it, and different in every corner, so that a wrong turn shows."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 127 + 0 * x], axis=-1).astype(np.uint8)


def encode(image: np.ndarray | Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colour: int, rows: bytes, *more: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows, 9))
    return PNG_MAGIC + chunk(b"IHDR", header) + b"".join(more) + data + chunk(b"IEND", b"")


def reason(data: bytes, media: MediaConfig = MEDIA) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, media)
    return caught.value.reason


def frame_header(data: bytes) -> int:
    """Offset of a baseline JPEG's frame header marker."""
    return data.index(b"\xff\xc0\x00\x11\x08")


def test_signature_is_32_hex_and_depends_on_every_byte() -> None:
    assert image_signature(b"abc") == image_signature(b"abc") != image_signature(b"abd")
    assert len(image_signature(b"")) == 32 and int(image_signature(b""), 16) >= 0


# What is fine


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}]
)
def test_jpeg_is_decoded_as_pillow_does(options: dict[str, Any]) -> None:
    data = encode(photo(), "JPEG", quality=95, **options)
    pixels = decode_image(data, MEDIA)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    assert np.abs(pixels.astype(int) - np.asarray(Image.open(io.BytesIO(data)))).max() <= 2


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_the_pixels_back(kind: str, options: dict[str, Any]) -> None:
    assert np.array_equal(decode_image(encode(photo(), kind, **options), MEDIA), photo())


def test_lossy_webp() -> None:
    pixels = decode_image(encode(photo(), "WEBP", quality=95), MEDIA)
    assert np.abs(pixels.astype(int) - photo()).mean() < 5


def test_gray_becomes_rgb() -> None:
    gray = photo()[..., 0]
    for kind in ("JPEG", "PNG"):
        pixels = decode_image(encode(gray, kind), MEDIA)
        assert pixels.shape == (60, 90, 3)
        assert np.abs(pixels.astype(int) - gray[..., None]).max() <= 3


def test_cmyk_becomes_rgb_with_the_right_sign() -> None:
    data = encode(Image.fromarray(photo()).convert("CMYK"), "JPEG", quality=95)
    reference = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode_image(data, MEDIA) - reference).max() <= 2


def test_16_bit_png_keeps_its_high_byte() -> None:
    samples = np.linspace(0, 65535, 60 * 90).reshape(60, 90).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    expected = np.repeat((samples >> 8).astype(np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(decode_image(png(90, 60, 16, 0, rows), MEDIA), expected)
    rows = b"".join(b"\0" + np.repeat(row, 3).tobytes() for row in samples)
    assert np.array_equal(decode_image(png(90, 60, 16, 2, rows), MEDIA), expected)


def test_16_bit_gray_png_with_a_transparent_value() -> None:
    rows = b"\0" + np.array([0x1234, 0x1235], ">u2").tobytes()
    pixels = decode_image(png(2, 1, 16, 0, rows, chunk(b"tRNS", b"\x12\x34")), MEDIA)
    assert pixels[0, :, 0].tolist() == [255, 0x12]


def test_transparency_is_laid_over_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 51]]], np.uint8)
    expected = [[10, 20, 30], [255, 255, 255], [204, 204, 204]]
    assert decode_image(encode(rgba, "PNG"), MEDIA)[0].tolist() == expected
    assert decode_image(encode(rgba, "WEBP", lossless=True, exact=True), MEDIA)[0].tolist() == expected


def test_palette_png_with_transparency() -> None:
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255])) + chunk(b"tRNS", bytes([255, 0]))
    pixels = decode_image(png(2, 1, 8, 3, b"\0\0\1", palette), MEDIA)
    assert pixels[0].tolist() == [[255, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options: dict[str, Any] = {"quality": 95} if kind == "JPEG" else {}
    data = encode(photo(), kind, exif=exif, **options)
    with Image.open(io.BytesIO(data)) as image:
        reference = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    pixels = decode_image(data, MEDIA)
    assert pixels.shape == reference.shape
    assert np.abs(pixels.astype(int) - reference).max() <= 2


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_unreadable_exif_means_upright(exif: bytes) -> None:
    assert decode_image(encode(photo(), "JPEG", exif=exif), MEDIA).shape == (60, 90, 3)


def test_a_single_frame_animated_png_is_still() -> None:
    plain = encode(photo(), "PNG")
    control = chunk(b"acTL", struct.pack(">II", 1, 0))
    assert np.array_equal(decode_image(plain[:33] + control + plain[33:], MEDIA), photo())


def test_content_decides_the_format_and_bytes_after_the_end_do_not_matter() -> None:
    # A PNG named .jpg is a PNG: names never reach the decoder.
    assert np.array_equal(decode_image(encode(photo(), "PNG") + b"trailing", MEDIA), photo())


# What is not, and its verdict


def test_0_bytes() -> None:
    assert reason(b"") == "empty"


@pytest.mark.parametrize(
    "data",
    [b"<!DOCTYPE html><html><body>404</body></html>", b"\0" * 100, b"\xff", encode(photo(), "BMP")],
)
def test_what_is_no_image_of_a_known_format(data: bytes) -> None:
    assert reason(data) == "unsupported_format"


def test_gif_is_unsupported_still_or_animated() -> None:
    frames = [Image.fromarray(photo()), Image.fromarray(255 - photo())]
    assert reason(encode(frames[0], "GIF")) == "unsupported_format"
    animated = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert reason(animated) == "unsupported_format"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animated(kind: str) -> None:
    frames = [Image.fromarray(photo()), Image.fromarray(255 - photo())]
    assert reason(encode(frames[0], kind, save_all=True, append_images=frames[1:])) == "animated"


def test_a_format_that_the_pipeline_does_not_take() -> None:
    assert reason(encode(photo(), "PNG"), replace(MEDIA, formats=("jpeg",))) == "unsupported_format"


def test_too_many_bytes() -> None:
    assert reason(b"x" * (MEDIA.max_bytes + 1)) == "too_many_bytes"


def test_the_pixel_limit_is_inclusive() -> None:
    data = encode(photo(10, 10), "PNG")
    assert decode_image(data, replace(MEDIA, max_pixels=100)).shape == (10, 10, 3)
    assert reason(data, replace(MEDIA, max_pixels=99)) == "too_many_pixels"


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_header_of_65000_x_65000_is_believed_by_nobody() -> None:
    data = bytearray(encode(photo(), "JPEG"))
    offset = frame_header(bytes(data)) + 5
    data[offset : offset + 4] = struct.pack(">HH", 65000, 65000)
    assert peak_bytes(lambda: reason(bytes(data))) < 2**20
    assert reason(bytes(data)) == "too_many_pixels"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_small_file_that_inflates_to_gigabytes(kind: str) -> None:
    if kind == "PNG":  # a gigapixel; the header alone decides
        data = png(32_000, 32_000, 8, 0, b"\0" * 1000)
    else:
        data = encode(Image.new("RGB", (16_000, 100)), "WEBP", lossless=True)
    assert len(data) < 10_000
    assert peak_bytes(lambda: reason(data)) < 2**20
    assert reason(data) == "too_many_pixels"


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_compressed_metadata_is_never_inflated(kind: bytes) -> None:
    bomb = chunk(kind, b"Comment\0\0" + zlib.compress(b"\0" * 200_000_000, 9))
    plain = encode(photo(), "PNG")
    data = plain[:33] + bomb + plain[33:]
    assert peak_bytes(lambda: decode_image(data, MEDIA)) < 2**22
    assert np.array_equal(decode_image(data, MEDIA), photo())


def test_image_data_beyond_the_declared_pixels_is_not_inflated() -> None:
    data = png(2, 2, 8, 0, b"\0\1\2" * 2 + b"\0" * 100_000_000)
    assert peak_bytes(lambda: decode_image(data, MEDIA)) < 2**22


def test_a_jpeg_that_repaints_itself_without_end() -> None:
    data = encode(photo(), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    bomb = data[:scan] + data[scan:-2] * MAX_JPEG_SCANS + data[-2:]
    assert len(bomb) < MEDIA.max_bytes
    assert reason(bomb) == "corrupt"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.999])
def test_truncated(kind: str, kept: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    data = encode(noise, kind)
    assert reason(data[: int(len(data) * kept)]) == "truncated"


@pytest.mark.parametrize("cut", [1, 2])
def test_a_jpeg_without_its_end_marker_is_truncated(cut: int) -> None:
    assert reason(encode(photo(), "JPEG")[:-cut]) == "truncated"


def test_a_png_whose_data_ends_early_is_truncated_although_its_checksums_are_right() -> None:
    assert reason(png(90, 60, 8, 0, b"\0" * 91 * 30)) == "truncated"


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_a_flipped_bit_in_a_png_is_always_found(data: st.DataObject) -> None:
    whole = bytearray(encode(photo(), "PNG"))
    position = data.draw(st.integers(len(PNG_MAGIC) + 8, len(whole) - 1))
    whole[position] ^= 1 << data.draw(st.integers(0, 7))
    assert reason(bytes(whole)) in {"corrupt", "truncated"}


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (9, 17)])
def test_png_of_every_layout_is_whole(mode: str, width: int, height: int) -> None:
    image = (
        Image.new(mode, (width, height))
        if mode == "I;16"
        else Image.new("RGB", (width, height)).convert(mode)
    )
    assert decode_image(encode(image, "PNG"), MEDIA).shape == (height, width, 3)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (5, 5), (8, 8), (13, 9)])
def test_interlaced_png(width: int, height: int) -> None:
    expected = photo(height, width)
    rows = b"".join(
        b"\0" + expected[top::down, left::right][index].tobytes()
        for left, top, right, down in ADAM7
        if left < width
        for index in range(len(expected[top::down]))
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)

    def interlaced(data: bytes) -> bytes:
        return PNG_MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")

    assert np.array_equal(decode_image(interlaced(rows), MEDIA), expected)
    assert reason(interlaced(rows[:-1])) == "truncated"


def test_a_png_whose_data_can_not_be_inflated_is_corrupt() -> None:
    data = png(90, 60, 8, 0, b"\0" * 91 * 60)
    broken = chunk(b"IDAT", b"\x78\x9c" + b"\xff" * 40)
    assert reason(data[:33] + broken + chunk(b"IEND", b"")) == "corrupt"


def test_a_jpeg_with_broken_entropy_coding_is_corrupt() -> None:
    data = bytearray(encode(photo(), "JPEG", restart_marker_rows=1))
    marker = data.index(b"\xff\xd1")
    data[marker + 1] = 0xD5  # a restart marker out of turn
    assert reason(bytes(data)) == "corrupt"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xd9" + b"\0" * 4,
        b"\xff\xd8\xff\xe0\x00\x01" + b"\0" * 10,
        b"\xff\xd8\xff\xda\x00\x02",
        PNG_MAGIC + chunk(b"IEND", b""),
        PNG_MAGIC + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)) + chunk(b"IEND", b""),
        png(0, 1, 8, 0, b""),
        png(1, 1, 8, 9, b"\0\0"),
        b"RIFF\x04\0\0\0WEBP",
    ],
)
def test_structurally_broken_files_are_corrupt(data: bytes) -> None:
    assert reason(data) == "corrupt"


def test_a_jpeg_coding_process_that_hardly_anything_reads() -> None:
    data = bytearray(encode(photo(), "JPEG"))
    data[frame_header(bytes(data)) + 1] = 0xC3  # lossless
    assert reason(bytes(data)) == "unsupported_format"
    data = bytearray(encode(photo(), "JPEG"))
    data[frame_header(bytes(data)) + 4] = 12  # bits per sample
    assert reason(bytes(data)) == "unsupported_format"


@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.data())
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_bytes_the_verdict_is_pixels_or_a_reason_and_repeats(
    kind: str, data: st.DataObject
) -> None:
    whole = bytearray(encode(photo(16, 24), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    broken = (
        bytes(whole[: data.draw(st.integers(0, len(whole)))]) if data.draw(st.booleans()) else bytes(whole)
    )

    def verdict() -> object:
        try:
            return decode_image(broken, MEDIA).tobytes()
        except ImageError as error:
            return error.reason

    assert verdict() == verdict()


# Preparing


def test_prepare_keeps_the_centre() -> None:
    spec = PreprocessSpec(input_size=56, resize_size=64)
    image = photo(100, 200)
    resized = np.asarray(Image.fromarray(image).resize((128, 64), Image.Resampling.BICUBIC))
    assert np.abs(prepare(image, spec).astype(int) - resized[4:60, 36:92]).max() <= 1


@given(st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None)
def test_prepare_takes_any_size(height: int, width: int) -> None:
    pixels = prepare(np.full((height, width, 3), 77, np.uint8), PreprocessSpec(56, 64))
    assert pixels.shape == (56, 56, 3) and (pixels == 77).all()


def test_prepare_of_a_thin_image_stays_small() -> None:
    assert prepare(np.zeros((1, 1_000_000, 3), np.uint8), PreprocessSpec(224, 256)).shape == (224, 224, 3)
