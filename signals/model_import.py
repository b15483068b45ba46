"""Brings a user's own ONNX model into the form that every model here has.

The graph is extended at its input: images come in as uint8 (N, size, size, 3), and what the model expects
(channel order, floats, scaling) is computed inside the graph. The result is tried out before it is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from signals.cache import cache_dir
from signals.errors import ConfigurationError
from signals.inference import InferenceEngine
from signals.model import MAX_GRAPH_BYTES, Model, ModelManifest, check_graph, save_model
from signals.preprocess import PreprocessSpec

_INPUT = "lkbench_images"
_MIN_OPSET = 7  # from here on Sub and Mul broadcast


def import_model(
    path: Path,
    *,
    outputs: Mapping[str, str],
    input_size: int,
    resize_size: int,
    layout: Literal["NCHW", "NHWC"] = "NCHW",
    dtype: Literal["uint8", "float32"] = "float32",
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    cache: Path | None = None,
) -> Path:
    """Import an ONNX image model and return its folder, ``<cache>/models/<file name>-<hash>``.

    ``outputs`` maps the names that signals use (``embedding``, ``logits``) to outputs of the graph, which
    are float32 (N, ...). With ``dtype="float32"`` the model gets (pixel - mean) / std per RGB channel,
    pixels from 0 to 255 (ImageNet's 0.485 is 123.675 here); with "uint8" the pixels as they are.

    Raises ConfigurationError when the model can't be used so, and says why.
    """
    try:
        source = path.read_bytes() if path.stat().st_size <= MAX_GRAPH_BYTES else None
    except OSError as error:
        raise ConfigurationError(f"the model {path} can't be read: {error.strerror}") from error
    if source is None:
        raise ConfigurationError(f"the model {path} is larger than {MAX_GRAPH_BYTES} bytes")
    if len(mean) != 3 or len(std) != 3 or not np.all(np.asarray(std) > 0):
        raise ConfigurationError("mean and std take one number per RGB channel, std above 0")
    proto = check_graph(source)
    _extend(proto, layout, dtype, mean, std)
    graph: bytes = proto.SerializeToString(deterministic=True)
    sha256 = hashlib.sha256(graph).hexdigest()
    manifest = ModelManifest(
        name=path.stem,
        sha256=sha256,
        input_name=_INPUT,
        preprocess=PreprocessSpec(input_size, resize_size),
        outputs=dict(outputs),
        source=f"{path.name}, {layout} {dtype}, mean {list(mean)}, std {list(std)}",
        source_sha256=hashlib.sha256(source).hexdigest(),
    )
    _try_out(Model(manifest, graph))
    key = hashlib.sha256(repr(manifest).encode()).hexdigest()[:16]
    model_dir = save_model((cache or cache_dir()) / "models" / f"{path.stem}-{key}", manifest, graph)
    Model.load(model_dir)
    return model_dir


def _extend(proto: Any, layout: str, dtype: str, mean: Sequence[float], std: Sequence[float]) -> None:
    graph = proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise ConfigurationError(f"the model must have one input, it has {len(inputs)}")
    opset = next((item.version for item in proto.opset_import if item.domain in {"", "ai.onnx"}), 0)
    if opset < _MIN_OPSET:
        raise ConfigurationError(f"the model has operator set {opset}, {_MIN_OPSET} or later is needed")
    nodes, tensor = [], _INPUT

    def add(operator: str, *more: str, **attributes: Any) -> None:
        nonlocal tensor
        result = f"lkbench_{operator.lower()}"
        nodes.append(helper.make_node(operator, [tensor, *more], [result], **attributes))
        tensor = result

    if dtype == "float32":
        add("Cast", to=TensorProto.FLOAT)
        for operator, name, value in (
            ("Sub", "lkbench_mean", mean),
            ("Mul", "lkbench_scale", 1 / np.asarray(std)),
        ):
            graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
            add(operator, name)
    if layout == "NCHW":
        add("Transpose", perm=[0, 3, 1, 2])
    nodes.append(helper.make_node("Identity", [tensor], [inputs[0].name]))
    kept = [value for value in graph.input if value.name in constants]
    old_nodes = list(graph.node)
    del graph.input[:], graph.node[:]
    images = helper.make_tensor_value_info(_INPUT, TensorProto.UINT8, ["N", None, None, 3])
    graph.input.extend([images, *kept])
    graph.node.extend([*nodes, *old_nodes])
    del graph.value_info[:]  # shapes inferred for the old input, perhaps for a fixed batch size
    for output in graph.output:
        if output.type.tensor_type.shape.dim:
            output.type.tensor_type.shape.dim[0].dim_param = "N"


def _try_out(model: Model) -> None:
    """Run two images together and alone: a row of a batch must be what the image alone gives."""
    names = {output.name for output in check_graph(model.graph).graph.output}
    if missing := sorted(set(model.manifest.outputs.values()) - names):
        raise ConfigurationError(
            f"the model has no output {', '.join(missing)}; it has {', '.join(sorted(names))}"
        )
    size = model.manifest.input_size
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    try:
        engine = InferenceEngine(model, whole_batches=True)
        together = engine.run(images)
        alone = engine.run(images[1:])
    except Exception as error:  # of ONNX Runtime's own kinds, or ConfigurationError when it refuses the graph
        raise ConfigurationError(
            f"the model does not run on {size} x {size} images in batches of 1 and 2; check the input size "
            f"and the layout, and export it with a dynamic batch dimension: {error}"
        ) from error
    for name, rows in together.items():
        if rows.dtype != np.float32 or rows.ndim < 2 or len(rows) != 2:
            raise ConfigurationError(
                f"output {name} must be float32 (N, ...), it is {rows.dtype} {rows.shape}"
            )
        if not np.allclose(rows[1], alone[name][0], rtol=1e-3, atol=1e-3):
            raise ConfigurationError(f"output {name} of an image depends on its neighbours in the batch")
