"""Runs a model on batches of prepared images, on the device that was asked for and no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import onnxruntime

from signals.cuda_devices import device_name, has_driver, number_by_bus, ordinal_of_worker
from signals.declaration import FloatArray, SignalDeclaration, for_galaxy
from signals.errors import ConfigurationError, ImageError, MissingRequirement
from signals.image import RgbImage
from signals.model import Model

SignalValues = dict[SignalDeclaration, FloatArray]


class InferenceEngine:
    """One ONNX Runtime session on one device. ``run`` may be called from several threads.

    ``device``: "cpu" or "cuda"; ``threads``: CPU threads inside one operator; ``index``: which device, for
    CUDA the ordinal, for CPU a number of the caller's that tells several engines apart in the ledger.
    Threads never spin while idle: engines that share a machine would starve each other.

    A CPU gains nothing from a batch, and its caches hold the activations of one image only: it computes the
    images of a batch one by one (``lkbench limit`` shows what each size costs). ``whole_batches`` makes it
    compute them in one call all the same.

    Raises MissingRequirement when ``device="cuda"`` and no CUDA device can be used: a CPU never stands in
    for a GPU. Raises ConfigurationError when ONNX Runtime refuses the model.
    """

    def __init__(
        self,
        model: Model,
        *,
        device: Literal["cpu", "cuda"] = "cpu",
        threads: int = 1,
        index: int = 0,
        whole_batches: bool = False,
    ) -> None:
        self.model = model
        self._one_by_one = device == "cpu" and not whole_batches
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        if device == "cuda":
            self._session = _cuda_session(model, options, index)
            self._label = f"cuda:{index} {device_name(index)}"
        else:
            self._session = _session(model, options, ["CPUExecutionProvider"])
            self._label = f"cpu:{index}"
        self._names = list(model.manifest.outputs)
        self._graph_names = [model.manifest.outputs[name] for name in self._names]

    @property
    def device(self) -> str:
        """The device as the ledger names it, such as ``cpu:0`` or ``cuda:0 NVIDIA H100``."""
        return self._label

    @property
    def provider(self) -> str:
        """The ONNX Runtime execution provider in use."""
        return str(self._session.get_providers()[0])

    def run(self, images: RgbImage) -> dict[str, FloatArray]:
        """uint8 (N, size, size, 3) -> float32 (N, ...) by output name, the names that declarations use.

        Raises ConfigurationError for images of another shape or type.
        """
        size = self.model.manifest.input_size
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise ConfigurationError(
                f"the model takes uint8 (N, {size}, {size}, 3), not {images.dtype} {images.shape}"
            )
        calls = np.split(images, len(images)) if self._one_by_one and len(images) > 1 else [images]
        outputs = [self._session.run(self._graph_names, {self.model.manifest.input_name: i}) for i in calls]
        joined = outputs[0] if len(outputs) == 1 else map(np.concatenate, zip(*outputs, strict=True))
        return dict(zip(self._names, joined, strict=True))

    def warm_up(self, max_batch: int) -> None:
        """Run every batch size that will be used, so that no real image pays for the first of its size."""
        size = self.model.manifest.input_size
        largest = 1 if self._one_by_one else max_batch
        on_cpu = self.provider == "CPUExecutionProvider"
        for count in sorted({1, largest}) if on_cpu else range(1, largest + 1):
            self.run(np.zeros((count, size, size, 3), np.uint8))


def device_index(device: Literal["cpu", "cuda"], worker: int) -> int:
    """The ``index`` of the engine of a pool's worker ``worker``: on CUDA a device of its own, where there are
    as many."""
    return worker if device == "cpu" else ordinal_of_worker(worker)


def signal_values(outputs: Mapping[str, FloatArray], galaxy: str) -> list[SignalValues | ImageError]:
    """The values of every signal of ``galaxy``, one entry per image of the batch.

    ``outputs`` are :meth:`InferenceEngine.run`'s. An image with an output that is not finite gets an
    ImageError (``non_finite_output``) in place of its values; its neighbours are not affected.
    """
    declarations = for_galaxy(galaxy)
    if missing := sorted({item.model_output for item in declarations} - outputs.keys()):
        raise ConfigurationError(f"galaxy {galaxy} needs the model outputs {', '.join(missing)}")
    used = {name: outputs[name] for name in {item.model_output for item in declarations}}
    count = len(next(iter(outputs.values())))
    if all(np.isfinite(output).all() for output in used.values()):
        return list(_values(declarations, used, count))
    finite = np.ones(count, dtype=bool)
    for output in used.values():
        finite &= np.isfinite(output.reshape(count, -1)).all(axis=1)
    whole = {name: output[finite] for name, output in used.items()}
    values = iter(_values(declarations, whole, int(np.count_nonzero(finite))))
    return [next(values) if is_finite else ImageError("non_finite_output") for is_finite in finite]


def _values(
    declarations: Sequence[SignalDeclaration], outputs: Mapping[str, FloatArray], count: int
) -> list[SignalValues]:
    values: list[SignalValues] = [{} for _ in range(count)]
    for item in declarations:
        # A copy: what a declared function does to its argument is no business of the next.
        for of_image, value in zip(values, item(outputs[item.model_output].copy()), strict=True):
            of_image[item] = value
    return values


def values_of_mixed_batch(
    outputs: Mapping[str, FloatArray], galaxies: Sequence[str]
) -> list[SignalValues | ImageError]:
    """:func:`signal_values` for a batch whose images belong to ``galaxies``, one name per image."""
    distinct = set(galaxies)
    if len(distinct) == 1:
        return signal_values(outputs, galaxies[0])
    found: dict[int, SignalValues | ImageError] = {}
    for galaxy in distinct:
        rows = [row for row, name in enumerate(galaxies) if name == galaxy]
        of_galaxy = {name: output[rows] for name, output in outputs.items()}
        found.update(zip(rows, signal_values(of_galaxy, galaxy), strict=True))
    return [found[row] for row in range(len(galaxies))]


def _session(model: Model, options: onnxruntime.SessionOptions, providers: list[Any]) -> Any:
    try:
        return onnxruntime.InferenceSession(model.graph, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own exceptions have no common base but this
        raise ConfigurationError(
            f"ONNX Runtime can't load the model {model.manifest.name}: {error}"
        ) from error


def _cuda_session(model: Model, options: onnxruntime.SessionOptions, index: int) -> Any:
    advice = "install a driver for CUDA 13 (580 or later) and onnxruntime-gpu, or run with device cpu"
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise MissingRequirement(f"this ONNX Runtime has no CUDA support; {advice}")
    if not has_driver():
        raise MissingRequirement(f"this machine has no driver for CUDA; {advice}")
    onnxruntime.preload_dlls()
    number_by_bus()
    # Heuristic: an exhaustive search of convolution algorithms for every batch size costs minutes.
    cuda = ("CUDAExecutionProvider", {"device_id": index, "cudnn_conv_algo_search": "HEURISTIC"})
    try:
        session = _session(model, options, [cuda])
    except ConfigurationError as error:
        raise MissingRequirement(f"CUDA device {index} can't be used; {advice}: {error}") from error
    if session.get_providers()[0] != "CUDAExecutionProvider":
        raise MissingRequirement(f"ONNX Runtime fell back to the CPU; {advice}")
    return session
