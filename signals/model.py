"""A model on disk: an ONNX graph pinned by hash, with a manifest that says how to feed and read it.

Every model, built in or imported, has one form: uint8 (N, size, size, 3) RGB in, named float32 (N, ...)
outputs, normalisation inside the graph. So the inference core has nothing to configure.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import orjson

from signals.declaration import declared_signals
from signals.errors import ConfigurationError, MissingRequirement
from signals.preprocess import PreprocessSpec

GRAPH_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
MAX_GRAPH_BYTES = 1 << 30
ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """What a model folder holds. ``outputs`` maps the names that declarations use to graph outputs."""

    name: str
    sha256: str  # of the graph file, 64 hex characters
    input_name: str
    preprocess: PreprocessSpec
    outputs: dict[str, str]
    source: str = ""  # where the weights come from, for people
    source_sha256: str = ""

    @property
    def input_size(self) -> int:
        """Side of the square input in pixels."""
        return self.preprocess.input_size

    @property
    def resize_size(self) -> int:
        """Length of an image's shorter side, in pixels, before the crop."""
        return self.preprocess.resize_size


@dataclass(frozen=True, slots=True)
class Model:
    """A verified model: ``graph`` is the serialised ONNX file whose hash is in the manifest."""

    manifest: ModelManifest
    graph: bytes = dataclasses.field(repr=False)

    @classmethod
    def load(cls, model_dir: Path) -> Model:
        """Read and verify a model folder.

        Raises MissingRequirement when the folder or a file of it is missing, ConfigurationError when it is
        no folder or can't be read, or when the graph is not the one the manifest pins, is too large, refers
        to files outside itself, uses operators of an unknown domain, or lacks an output that a declared
        signal needs.
        """
        try:
            raw = orjson.loads((model_dir / MANIFEST_FILE).read_bytes())
            graph = _read_capped(model_dir / GRAPH_FILE)
        except FileNotFoundError as error:
            raise MissingRequirement(
                f"there is no model in {model_dir} ({error.filename} is missing); "
                "prepare the built-in model or import one of your own"
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"{model_dir} can't be read as a model folder ({error.strerror}); `lkbench import-model` "
                "makes such a folder of an ONNX file of yours"
            ) from error
        except orjson.JSONDecodeError as error:
            raise ConfigurationError(f"{model_dir / MANIFEST_FILE} is not valid JSON: {error}") from error
        manifest = _manifest_from(raw, model_dir)
        if hashlib.sha256(graph).hexdigest() != manifest.sha256:
            raise ConfigurationError(
                f"the model in {model_dir} was changed: its hash is not the manifest's; prepare it again"
            )
        proto = check_graph(graph)
        names = {output.name for output in proto.graph.output}
        if missing := sorted(set(manifest.outputs.values()) - names):
            raise ConfigurationError(f"the model in {model_dir} has no output {', '.join(missing)}")
        needed = {declaration.model_output for declaration in declared_signals()}
        if missing := sorted(needed - manifest.outputs.keys()):
            raise ConfigurationError(
                f"the model {manifest.name} gives no {', '.join(missing)}, which declared signals need; "
                "map an output of the graph to it when you import the model"
            )
        return cls(manifest, graph)


def check_graph(graph: bytes) -> Any:
    """Parse an ONNX file and refuse what must not be run. Returns the ModelProto.

    Raises ConfigurationError: not ONNX, data outside the file, unknown operator domains, malformed graph.
    """
    try:
        proto = onnx.load_model_from_string(graph)
    except Exception as error:  # protobuf's DecodeError, whose class differs between versions
        raise ConfigurationError(f"not an ONNX file: {error}") from error
    for tensor in _tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ConfigurationError(
                f"the model keeps tensor {tensor.name!r} in another file; save it as one file"
            )
    used = {opset.domain for opset in proto.opset_import}
    used |= {node.domain for container in _containers(proto) for node in container.node}
    used |= {function.domain for function in proto.functions}
    if unknown := sorted(used - ALLOWED_DOMAINS):
        raise ConfigurationError(f"the model uses operators of the domain {', '.join(unknown)}, not allowed")
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise ConfigurationError(f"the model is malformed: {str(error).splitlines()[0]}") from error
    return proto


def save_model(model_dir: Path, manifest: ModelManifest, graph: bytes) -> Path:
    """Write a model folder so that it appears whole. One of equal content stays, a damaged one is replaced.

    Returns ``model_dir``.
    """
    temporary = model_dir.with_name(f".{model_dir.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    content = orjson.dumps(dataclasses.asdict(manifest), option=orjson.OPT_INDENT_2)
    files = {GRAPH_FILE: graph, MANIFEST_FILE: content}
    for name, data in files.items():
        (temporary / name).write_bytes(data)
    try:
        temporary.rename(model_dir)
    except OSError:  # it exists: another process was faster, or it is a damaged one
        if not all(_holds(model_dir / name, data) for name, data in files.items()):
            shutil.rmtree(model_dir)
            temporary.rename(model_dir)
    shutil.rmtree(temporary, ignore_errors=True)
    return model_dir


def _manifest_from(raw: object, model_dir: Path) -> ModelManifest:
    try:
        if not isinstance(raw, dict):
            raise TypeError("not an object")
        preprocess = PreprocessSpec(**raw.pop("preprocess"))
        return ModelManifest(preprocess=preprocess, **raw)
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"{model_dir / MANIFEST_FILE} is not a model manifest: {error}") from error


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _read_capped(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_GRAPH_BYTES + 1)
    if len(data) > MAX_GRAPH_BYTES:
        raise ConfigurationError(f"the model {path} is larger than {MAX_GRAPH_BYTES} bytes")
    return data


def _containers(proto: Any) -> list[Any]:
    """Every graph and function of the model, nested ones (branches, loops) included."""
    found: list[Any] = []
    waiting: list[Any] = [proto.graph, *proto.functions]
    while waiting:
        container = waiting.pop()
        found.append(container)
        for node in container.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    waiting.append(attribute.g)
                waiting.extend(attribute.graphs)
    return found


def _tensors(proto: Any) -> list[Any]:
    """Every tensor that the model carries: initializers, sparse ones, and constants inside attributes."""
    found: list[Any] = []
    for container in _containers(proto):
        if isinstance(container, onnx.GraphProto):
            found.extend(container.initializer)
            for sparse in container.sparse_initializer:
                found.extend((sparse.values, sparse.indices))
        for node in container.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    found.append(attribute.t)
                if attribute.HasField("sparse_tensor"):
                    found.extend((attribute.sparse_tensor.values, attribute.sparse_tensor.indices))
                found.extend(attribute.tensors)
    return found
