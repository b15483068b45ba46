"""Results of whole runs with replicates whose times are given: what a comparison is tested on."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from bench.compare.sides import Side, StoredRun
from bench.results import compute_result
from tests.unit.synthetic_run import complete_run

INFERENCE = "kappa.stage.online.inference.p50_seconds"


@functools.cache
def _template() -> bytes:
    with TemporaryDirectory() as folder:
        return orjson.dumps(compute_result(complete_run(Path(folder) / "run-1").write()))


def synthetic_result(run_id: str, inference_seconds: Sequence[float]) -> dict[str, Any]:
    """A VALID result with a replicate per time, which is that of the stage ``inference`` in the stream."""
    result: dict[str, Any] = orjson.loads(_template())
    result["run_id"] = run_id
    for content in result["arms"].values():
        one = content["replicates"]["1"]
        content["replicates"] = {str(n + 1): copy.deepcopy(one) for n in range(len(inference_seconds))}
    for seconds, content in zip(
        inference_seconds, result["arms"]["kappa"]["replicates"].values(), strict=True
    ):
        (row,) = [
            row
            for row in content["stage_parts"]["rows"]
            if (row["consumer"], row["part"]) == ("online", "inference")
        ]
        row["median_seconds"] = seconds
    return result


def side(label: str, *results: dict[str, Any]) -> Side:
    return Side(label, tuple(StoredRun(Path(f"{r['run_id']}/result.json"), r) for r in results))


def write_run(output: Path, result: dict[str, Any]) -> Path:
    """A run folder that holds a manifest and this result."""
    run_dir = output / str(result["run_id"])
    run_dir.mkdir(parents=True)
    (run_dir / "manifest.json").write_bytes(orjson.dumps({"run_id": result["run_id"], "status": "complete"}))
    (run_dir / "result.json").write_bytes(orjson.dumps(result))
    return run_dir
