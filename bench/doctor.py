"""Says what this machine has, what a run needs beyond that, and how to get it."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import numpy as np
import onnx
import psutil
from packaging.requirements import Requirement

from bench.services import jars
from bench.services.java import MINIMUM_VERSION, find_java
from bench.services.spark_rehearsal import is_rehearsed
from signals.cache import cache_dir
from signals.errors import LkbenchError

DISTRIBUTION = "lambda-kappa-bench"
MINIMUM_PYTHON = (3, 11)
MINIMUM_MEMORY_BYTES = 6 * 1024**3
MINIMUM_FREE_BYTES = 4 * 1024**3  # environment, cache and one run
RECOMMENDED_CORES = 2
MINIMUM_DRIVER = 580  # of NVIDIA, for the CUDA 13 that ONNX Runtime is built with
_GIB = 1024**3
_CUDA_ADVICE = (
    f'for device = "cuda" a run needs an NVIDIA driver {MINIMUM_DRIVER} or newer, the CUDA 13 runtime and '
    'cuDNN: pip install "onnxruntime-gpu[cuda,cudnn]"'
)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. Where ``ok`` is false a run can't work; ``advice`` may be empty."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def run_checks() -> list[Check]:
    """All checks, in the order in which they are worth reading. Never raises."""
    checks: tuple[Callable[[], Check], ...] = (
        _python,
        _packages,
        _java,
        _cores,
        _memory,
        _disk,
        _writable,
        _gpu,
        _cache,
    )
    return [check() for check in checks]


def _python() -> Check:
    ok = sys.version_info >= MINIMUM_PYTHON
    needed = ".".join(map(str, MINIMUM_PYTHON))
    return Check("python", ok, platform.python_version(), "" if ok else f"needed is {needed} or newer")


def _packages() -> Check:
    try:
        declared = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        advice = "install it: pip install -e ., or use nox -s bench"
        return Check("packages", False, f"{DISTRIBUTION} is not installed", advice)
    problems = [problem for line in declared if (problem := _problem_with(Requirement(line)))]
    if problems:
        return Check("packages", False, "; ".join(problems), "install what requirements.lock names")
    return Check("packages", True, f"{DISTRIBUTION} {version(DISTRIBUTION)} with all dependencies")


def _problem_with(requirement: Requirement) -> str:
    if requirement.marker is not None and not requirement.marker.evaluate():
        return ""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is missing"
    if not requirement.specifier.contains(installed, prereleases=True):
        return f"{requirement.name} is {installed}, needed is {requirement.specifier}"
    return ""


def _java() -> Check:
    try:
        java = find_java()
    except LkbenchError as error:
        return Check("java", False, "no usable Java", str(error))
    return Check("java", True, f"{java.version} at {java.path} (needed is {MINIMUM_VERSION} or newer)")


def _cores() -> Check:
    cores = os.cpu_count() or 1
    if cores >= RECOMMENDED_CORES:
        return Check("cores", True, str(cores))
    return Check("cores", True, str(cores), f"with fewer than {RECOMMENDED_CORES} use a lower --rate")


def _memory() -> Check:
    memory = psutil.virtual_memory()
    ok = memory.available >= MINIMUM_MEMORY_BYTES
    found = f"{memory.available / _GIB:.1f} GiB available of {memory.total / _GIB:.1f}"
    advice = "" if ok else f"a run needs about {MINIMUM_MEMORY_BYTES // _GIB} GiB: close other programs"
    return Check("memory", ok, found, advice)


def _disk() -> Check:
    found, short = [], []
    places = (
        ("cache", _existing(cache_dir())),
        ("here", Path.cwd()),
        ("temporary", Path(tempfile.gettempdir())),
    )
    for name, path in places:
        free = shutil.disk_usage(path).free
        found.append(f"{name} {free / _GIB:.0f} GiB free")
        if free < MINIMUM_FREE_BYTES:
            short.append(str(path))
    advice = ""
    if short:
        advice = (
            f"{MINIMUM_FREE_BYTES // _GIB} GiB are needed in {', '.join(short)}; LKBENCH_CACHE moves the "
            "cache, --output the runs, TMPDIR the temporary folder"
        )
    return Check("disk", not short, ", ".join(found), advice)


def _writable() -> Check:
    closed = [str(path) for path in (_existing(cache_dir()), Path.cwd()) if not os.access(path, os.W_OK)]
    if closed:
        advice = "LKBENCH_CACHE moves the cache, --output the runs"
        return Check("write access", False, f"can't write to {', '.join(closed)}", advice)
    return Check("write access", True, f"cache {cache_dir()}, runs {Path.cwd() / 'runs'}")


def _gpu() -> Check:
    """A GPU is optional: this check fails only if ONNX Runtime can't be loaded at all.

    That CUDA is usable is said only after a convolution ran on it: the provider is compiled in, but the
    driver, the CUDA runtime and cuDNN are not.
    """
    try:
        import onnxruntime
    except ImportError as error:
        advice = "install what requirements.lock names"
        return Check("gpu", False, f"ONNX Runtime can't be loaded: {error}", advice)
    name = f"ONNX Runtime {onnxruntime.__version__}"
    driver = _nvidia_driver()
    if not driver:
        return Check("gpu", True, f"no NVIDIA driver; {name} uses the CPU")
    if int(driver.split(".")[0]) < MINIMUM_DRIVER:
        return Check("gpu", True, f"NVIDIA driver {driver} is too old; {name} uses the CPU", _CUDA_ADVICE)
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        advice = 'for device = "cuda" install onnxruntime-gpu in place of onnxruntime'
        return Check("gpu", True, f"NVIDIA driver {driver}; this {name} is built for the CPU only", advice)
    if problem := _cuda_problem():
        found = f"NVIDIA driver {driver}; {name} can't use CUDA: {problem}"
        return Check("gpu", True, found, _CUDA_ADVICE)
    return Check("gpu", True, f'NVIDIA driver {driver}; {name} computes on CUDA: use device = "cuda"')


def _cuda_problem() -> str:
    """Run one convolution on CUDA device 0. Empty if that works."""
    import onnxruntime

    said = io.StringIO()  # preload_dlls prints which libraries it lacks, and does not raise
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    onnxruntime.set_default_logger_severity(4)
    try:
        with contextlib.redirect_stdout(said):
            onnxruntime.preload_dlls()
            session = onnxruntime.InferenceSession(
                _convolution(), options, providers=["CUDAExecutionProvider"]
            )
            session.disable_fallback()
            if session.get_providers()[0] == "CUDAExecutionProvider":
                session.run(None, {"x": np.ones((1, 1, 4, 4), np.float32)})
                return ""
        problem = "it fell back to the CPU"
    except Exception as error:  # ONNX Runtime's own exceptions have no common base but this
        problem = (str(error).splitlines() or [type(error).__name__])[0]
    missing = re.findall(r"^Failed to load (.+?): ", said.getvalue(), re.MULTILINE)
    return f"{', '.join(missing)} can't be loaded" if missing else problem


def _convolution() -> bytes:
    """A serialised ONNX graph: float32 x (1, 1, 4, 4) -> y (1, 1, 2, 2)."""
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"])],
        "probe",
        [tensor("x", onnx.TensorProto.FLOAT, [1, 1, 4, 4])],
        [tensor("y", onnx.TensorProto.FLOAT, [1, 1, 2, 2])],
        [onnx.numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "w")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _nvidia_driver() -> str:
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return ""


def _cache() -> Check:
    parts = {
        **{jar_set.name: jars.is_cached(jar_set) for jar_set in jars.ALL},
        "model": any((cache_dir() / "models").glob("*/model.onnx")),
        "images": any((cache_dir() / "images").glob("crops-*/index.json")),
        "rehearsal of Spark": _is_rehearsed(),
    }
    missing = [name for name, present in parts.items() if not present]
    if not missing:
        return Check("cache", True, "complete; a run needs no network")
    advice = "lkbench setup fetches and builds it (needs the network); a run does so, too"
    return Check("cache", True, f"missing: {', '.join(missing)}", advice)


def _is_rehearsed() -> bool:
    try:
        return is_rehearsed()
    except LkbenchError:
        return False  # no Java, which another check says


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    return path if path.exists() else _existing(path.parent)
