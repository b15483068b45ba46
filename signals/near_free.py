"""A model that costs next to nothing: same inputs and outputs as the built-in one, a random projection.

With it a run measures the architecture around the model, and tests of that architecture stay fast.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from signals.cache import cache_dir
from signals.efficientnet import CLASSES, EMBEDDING_WIDTH, INPUT_SIZE, IR_VERSION, OPSET, RESIZE_SIZE
from signals.model import ModelManifest, save_model
from signals.preprocess import PreprocessSpec

_CELL = 28  # pixels; the image is averaged over cells of this size before it is projected
_SEED = 20


def build_near_free_model(cache: Path | None = None) -> Path:
    """Build the model and return its folder, ``<cache>/models/near_free-<hash of the graph>``."""
    graph = _graph()
    sha256 = hashlib.sha256(graph).hexdigest()
    manifest = ModelManifest(
        name="near_free",
        sha256=sha256,
        input_name="images",
        preprocess=PreprocessSpec(INPUT_SIZE, RESIZE_SIZE),
        outputs={"embedding": "embedding", "logits": "logits"},
        source=f"random projection, seed {_SEED}",
    )
    model_dir = (cache or cache_dir()) / "models" / f"near_free-{sha256[:16]}"
    return save_model(model_dir, manifest, graph)


def _graph() -> bytes:
    random = np.random.default_rng(_SEED)
    features = 3 * (INPUT_SIZE // _CELL) ** 2
    projections = {
        name: (random.standard_normal((features, width)) / np.sqrt(features) / 128).astype(np.float32)
        for name, width in (("embedding", EMBEDDING_WIDTH), ("logits", CLASSES))
    }
    cells = [_CELL, _CELL]
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "mean"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=cells, strides=cells),
        helper.make_node("Flatten", ["cells"], ["features"], axis=1),
        *(helper.make_node("MatMul", ["features", f"{name}.matrix"], [name]) for name in projections),
    ]
    constants = [numpy_helper.from_array(np.asarray(127.0, np.float32), "mean")]
    constants += [numpy_helper.from_array(matrix, f"{name}.matrix") for name, matrix in projections.items()]
    graph = helper.make_graph(
        nodes,
        "near_free",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", INPUT_SIZE, INPUT_SIZE, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", matrix.shape[1]])
            for name, matrix in projections.items()
        ],
        constants,
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="lkbench")
    return model.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
