"""``images.parquet`` of a run folder: which file of the user's an image signature stands for.

The ledger knows an image by the hash of its bytes. Names are text that somebody else chose: they are kept as
they are, and whoever shows one to a person makes it printable first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.images import DatasetImage

FILE = "images.parquet"
SCHEMA = pa.schema([("image_signature", pa.string()), ("file_name", pa.string()), ("size_bytes", pa.int64())])


def write_image_names(run_dir: Path, images: Iterable[DatasetImage]) -> Path:
    """Write the file: one row per distinct image, ``file_name`` as its path within the data set.

    Bytes of a name that are no UTF-8 are written as ``\\xNN``. Returns the path.
    """
    rows = [
        (image.image_signature, os.fsencode(image.name).decode("utf-8", "backslashreplace"), image.size_bytes)
        for image in images
    ]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    path = run_dir / FILE
    pq.write_table(pa.table(columns, SCHEMA), path, compression="zstd")
    return path


def printable(text: str) -> str:
    """``text`` on one line, with control and formatting characters as escapes.

    A terminal obeys control characters, and a reader is deceived by those that turn the direction of text.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
