"""``lkbench throughput`` with its own servers, as small as it goes: what it measures, and what it tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from bench.throughput.latency import ALONE, LOADS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
THROUGHPUT = [
    *(sys.executable, "-c", "from bench.cli import main; main()"),
    *("throughput", "--latency", "--check"),
]
COUNT, ARRIVALS = 40, 20


def test_a_path_is_drained_beside_the_bare_loop_and_then_offered_shares_of_its_rate(tmp_path: Path) -> None:
    kept = tmp_path / "found.json"
    options = f"--paths kappa_stream --model configured --count {COUNT} --warm-up 8 --rounds 1 --no-parts"
    done = subprocess.run(
        [*THROUGHPUT, *options.split(), "--arrivals", str(ARRIVALS), "--json", str(kept)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 8, done.stderr  # most targets were not measured, and that is told
    assert "lambda_online: throughput" in done.stderr
    found = orjson.loads(kept.read_bytes())
    assert found["is_complete"] is True and found["near_free"] == []
    (drain,) = found["drains"]
    assert drain["images"] == COUNT and drain["core_ms_by_process"]["kappa_pipeline.device_process"] > 0.0
    bare = [window["images_per_second"] for window in drain["bare"]]
    assert len(bare) == 2
    assert drain["ratio"] == pytest.approx(2 * drain["images_per_second"] / sum(bare))
    (latency,) = found["latencies"]
    levels = {level["load"]: level for level in latency["levels"]}
    assert {load: level["n"] for load, level in levels.items()} == {
        load: part * ARRIVALS for load, part in LOADS.items()
    }
    assert (latency["bare"]["load"], latency["bare"]["n"]) == (0.5, ARRIVALS)
    assert latency["bare_alone_seconds"] > 0.0
    assert latency["sustained_per_second"] > 0.0
    for level in (*levels.values(), latency["bare"]):
        assert level["rate_per_second"] == pytest.approx(level["load"] * latency["sustained_per_second"])
        assert 0.0 < level["p50_seconds"] <= level["p99_seconds"]
        assert level["cores"] > 0.0
    measured = {target["name"]: target["measured"] for target in found["targets"]}
    half = levels[0.5]["p50_seconds"] / latency["alone_seconds"]
    assert measured["kappa_stream: p50 at half load"] == pytest.approx(half)
    assert measured["lambda_online: throughput"] is None
    assert f"1 x {2 * ALONE}" in done.stdout
