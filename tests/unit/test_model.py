from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import pytest
from onnx import TensorProto, helper, numpy_helper

from signals import declaration
from signals.declaration import declared_signals, signal
from signals.efficientnet import build_model
from signals.errors import ConfigurationError, MissingRequirement
from signals.inference import InferenceEngine
from signals.model import GRAPH_FILE, MANIFEST_FILE, Model, check_graph
from signals.model_import import import_model
from signals.near_free import build_near_free_model
from signals.preprocess import PreprocessSpec
from signals.torch_weights import read_state

OUTPUTS = {"embedding": "features", "logits": "features"}


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return build_near_free_model(tmp_path)


def own_model(
    layout: str = "NCHW", dtype: int = TensorProto.FLOAT, batch: str | int = "N", domain: str = ""
) -> Any:
    """A model as a user would export it: the mean of every channel, and the first pixel's channels."""
    shape = [batch, 3, 8, 8] if layout == "NCHW" else [batch, 8, 8, 3]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["features"], axes=axes, keepdims=0),
    ]
    if domain:
        nodes.append(helper.make_node("Anything", ["float"], ["unused"], domain=domain))
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info("pixels", dtype, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 3])],
    )
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def saved(folder: Path, proto: Any) -> Path:
    path = folder / "own.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_the_built_in_model_is_cached_verified_and_rebuilt_when_damaged(tmp_path: Path) -> None:
    folder = build_model(tmp_path)
    model = Model.load(folder)
    assert folder.parent == tmp_path / "models"
    assert model.manifest.name == "efficientnet_lite0"
    assert (model.manifest.input_size, model.manifest.resize_size) == (224, 256)
    assert build_model(tmp_path) == folder
    (folder / GRAPH_FILE).write_bytes(b"damaged")
    assert Model.load(build_model(tmp_path)).manifest == model.manifest  # same hash: builds are reproducible


def test_a_missing_model_says_what_to_do(tmp_path: Path, model_dir: Path) -> None:
    with pytest.raises(MissingRequirement, match="prepare the built-in model"):
        Model.load(tmp_path / "none")
    (model_dir / GRAPH_FILE).unlink()
    with pytest.raises(MissingRequirement, match=r"model\.onnx is missing"):
        Model.load(model_dir)


def test_a_bare_onnx_file_in_place_of_a_folder_says_how_to_import_it(model_dir: Path) -> None:
    with pytest.raises(ConfigurationError, match="lkbench import-model"):
        Model.load(model_dir / GRAPH_FILE)
    (model_dir / MANIFEST_FILE).unlink()
    (model_dir / MANIFEST_FILE).mkdir()  # can't be read, whoever tries
    with pytest.raises(ConfigurationError, match="lkbench import-model"):
        Model.load(model_dir)


def test_a_changed_graph_is_refused(model_dir: Path) -> None:
    path = model_dir / GRAPH_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match="was changed"):
        Model.load(model_dir)


def test_an_oversized_graph_is_refused_before_it_is_parsed(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signals.model.MAX_GRAPH_BYTES", 100)
    with pytest.raises(ConfigurationError, match="larger than 100 bytes"):
        Model.load(model_dir)


@pytest.mark.parametrize(
    "change",
    [
        {"colour": 1},
        {"preprocess": {"input_size": 0, "resize_size": 1}},
        {"preprocess": {"input_size": 224, "resize_size": 256, "name": "stretch"}},
        {"outputs": {"embedding": "nowhere", "logits": "logits"}},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(model_dir: Path, change: dict[str, Any]) -> None:
    path = model_dir / MANIFEST_FILE
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | change))
    with pytest.raises(ConfigurationError):
        Model.load(model_dir)
    path.write_text("[]")
    with pytest.raises(ConfigurationError, match="not a model manifest"):
        Model.load(model_dir)
    path.write_text("{")
    with pytest.raises(ConfigurationError, match="not valid JSON"):
        Model.load(model_dir)


def test_a_model_must_give_what_declared_signals_need(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared_signals()
    monkeypatch.setattr(declaration, "_registry", dict(declaration._registry))
    signal(name="depth", version=1, model_output="depth_map")(lambda batch: batch)
    with pytest.raises(ConfigurationError, match="gives no depth_map"):
        Model.load(model_dir)


def test_data_in_other_files_is_refused_wherever_it_hides() -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "weights")
    onnx.external_data_helper.set_external_data(tensor, "../../secret")
    tensor.ClearField("raw_data")
    proto = own_model()
    proto.graph.node.append(helper.make_node("Constant", [], ["constant"], value=tensor))
    with pytest.raises(ConfigurationError, match="'weights' in another file"):
        check_graph(proto.SerializeToString())
    nested = helper.make_graph([], "branch", [], [], [tensor])
    proto = own_model()
    proto.graph.node.append(helper.make_node("If", ["pixels"], ["y"], then_branch=nested, else_branch=nested))
    with pytest.raises(ConfigurationError, match="'weights' in another file"):
        check_graph(proto.SerializeToString())


def test_unknown_operators_and_other_bytes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"domain evil\.example"):
        check_graph(own_model(domain="evil.example").SerializeToString())
    with pytest.raises(ConfigurationError, match="not an ONNX file"):
        check_graph(b"<html>")
    proto = own_model()
    proto.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ConfigurationError, match="malformed"):
        check_graph(proto.SerializeToString())


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("batch", ["N", 1])
def test_a_users_own_model_gets_the_common_form(
    tmp_path: Path, layout: Any, dtype: Any, batch: str | int
) -> None:
    onnx_type = TensorProto.FLOAT if dtype == "float32" else TensorProto.UINT8
    path = saved(tmp_path, own_model(layout, onnx_type, batch))
    folder = import_model(
        path,
        outputs=OUTPUTS,
        input_size=8,
        resize_size=10,
        layout=layout,
        dtype=dtype,
        mean=(10, 20, 30),
        std=(2, 4, 8),
        cache=tmp_path,
    )
    model = Model.load(folder)
    assert model.manifest.preprocess == PreprocessSpec(8, 10)
    assert model.manifest.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    expected = images.mean(axis=(1, 2))
    if dtype == "float32":
        expected = (expected - [10, 20, 30]) / [2, 4, 8]
    assert np.allclose(InferenceEngine(model).run(images)["embedding"], expected, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": 9, "resize_size": 9}, "does not run on 9 x 9 images"),
        ({"layout": "NHWC"}, "does not run"),
        ({"outputs": {"embedding": "nowhere"}}, "no output nowhere; it has features"),
        ({"outputs": {"embedding": "features"}}, "gives no logits"),
        ({"std": (1, 0, 1)}, "std above 0"),
    ],
)
def test_an_own_model_that_does_not_fit_is_explained(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    options: dict[str, Any] = {"outputs": OUTPUTS, "input_size": 8, "resize_size": 8, "cache": tmp_path}
    proto = own_model()
    # The matrix ties this one to its layout and size, as fully connected layers do.
    proto.graph.node.append(helper.make_node("MatMul", ["float", "square"], ["product"]))
    proto.graph.initializer.append(numpy_helper.from_array(np.eye(8, dtype=np.float32), "square"))
    with pytest.raises(ConfigurationError, match=message):
        import_model(saved(tmp_path, proto), **(options | change))


def test_an_own_model_that_mixes_the_images_of_a_batch_is_refused(tmp_path: Path) -> None:
    proto = own_model()
    proto.graph.node[1].output[0] = "per_image"
    proto.graph.node.append(helper.make_node("Softmax", ["per_image"], ["features"], axis=0))
    with pytest.raises(ConfigurationError, match="depends on its neighbours"):
        import_model(saved(tmp_path, proto), outputs=OUTPUTS, input_size=8, resize_size=8, cache=tmp_path)


def test_a_missing_own_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        import_model(tmp_path / "none.onnx", outputs=OUTPUTS, input_size=8, resize_size=8, cache=tmp_path)


class _Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code ran')",))


@pytest.mark.parametrize(
    "content",
    [b"", b"not a pickle", pickle.dumps(_Exploit()), pickle.dumps(42), pickle.dumps(0x1950A86A20F9469CFC6C)],
)
def test_weights_never_run_code(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a legacy PyTorch state file"):
        read_state(path)
