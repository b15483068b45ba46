"""The contract with a peer: a program of its own, in an environment of its own, that is given one JSON file.

``PEER_TASK`` names the file, ``PEER_WORKER`` numbers the processes of a stream. A batch program embeds every
key of ``keys``, writes Parquet into the folder ``output`` with the columns ``key``, ``embedding`` (float32,
packed) and ``done_ns`` (Unix time), and ends. A stream program reads keys from ``input_topic`` until it is
stopped and writes to ``output_topic``: the message's key is the image's, its value the packed embedding. When
an image is done is then the broker's word, not the program's.
"""

from __future__ import annotations

import ast
import dataclasses
import io
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

from signals.architecture import S3Endpoint
from signals.errors import MissingRequirement
from signals.model import GRAPH_FILE, Model
from signals.whole_file import replace_secret

SHARED = "image_model.py"  # what all programs import
_NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


@dataclass(frozen=True, slots=True)
class Peer:
    """One program. ``name``: also that of its environment, ``peer-NAME``, and of its lock file."""

    name: str
    program: str
    is_stream: bool


DAFT = Peer("daft", "daft_class_udf.py", is_stream=False)
MAP_IN_ARROW = Peer("mapinarrow", "spark_map_in_arrow.py", is_stream=False)
BYTEWAX = Peer("bytewax", "bytewax_batching.py", is_stream=True)
FAUST = Peer("faust", "faust_take.py", is_stream=True)
PEERS = (DAFT, MAP_IN_ARROW, BYTEWAX, FAUST)


@dataclass(frozen=True, slots=True)
class Programs:
    """``folder`` of the programs and of the ``environments`` that they run in."""

    folder: Path
    environments: Path

    def command(self, peer: Peer) -> list[str]:
        """Raises MissingRequirement where the program or its environment is not there."""
        python = self.environments / f"peer-{peer.name}" / "bin" / "python"
        program = self.folder / peer.program
        for path in (program, python):
            if not path.exists():
                raise MissingRequirement(f"{path} is missing; run nox -s peers in a checkout")
        return [str(python.absolute()), str(program.absolute())]

    def lines_of_code(self, peer: Peer) -> int:
        """Of the program and of what all of them share."""
        return lines_of_code([self.folder / peer.program, self.folder / SHARED])


@dataclass(frozen=True, slots=True)
class Task:
    """What the file holds. Fields that a program does not need are empty."""

    model: str  # ONNX file: uint8 (N, input_size, input_size, 3) in, float32 (N, width) out
    model_input: str
    model_output: str
    input_size: int  # pixels
    resize_size: int  # pixels of the shorter side before the centre is cut
    workers: int
    batch: int
    s3: S3Endpoint
    output: str
    keys: tuple[str, ...] = ()
    kafka: str = ""
    input_topic: str = ""  # one partition per worker
    output_topic: str = ""
    addresses: tuple[str, ...] = ()  # one per worker, free, for engines whose processes talk to each other

    @classmethod
    def of_model(cls, model_dir: Path, *, workers: int, batch: int, s3: S3Endpoint, output: Path) -> Task:
        """A task without images. Raises ConfigurationError for a bad model folder."""
        manifest = Model.load(model_dir).manifest
        return cls(
            model=str(model_dir / GRAPH_FILE),
            model_input=manifest.input_name,
            model_output=manifest.outputs["embedding"],
            input_size=manifest.input_size,
            resize_size=manifest.resize_size,
            workers=workers,
            batch=batch,
            s3=s3,
            output=str(output),
        )

    def save(self, path: Path) -> Path:
        """Write the file, which holds secrets. Returns ``path``."""
        return replace_secret(path, orjson.dumps(dataclasses.asdict(self)).decode())


def lines_of_code(files: Iterable[Path]) -> int:
    """Lines that are neither blank, comment nor docstring."""
    return sum(_lines_of_code(path.read_text()) for path in files)


def _lines_of_code(text: str) -> int:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE and token.string:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)
