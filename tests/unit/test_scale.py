from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from bench.commands.scale import as_plain, targets
from bench.commands.scale_out import tables as scale_out_tables
from bench.scale.layout import SCALED_OUT, SINGLE, Used
from bench.scale.measure import CHUNKS, AtScale, Chunk, Night
from bench.scale.scale_out import LayoutDrain, ScaleOut
from bench.scale.small_images import DISTINCT, small_images
from bench.throughput.drains import NIGHTLY, ONLINE, STREAM
from bench.throughput.stand import arrival_signature


def chunk(core_ms: float, mib: int) -> Chunk:
    return Chunk(1_000, 1.0, {"worker": core_ms - 0.5, "kafka": 0.5}, {"worker": mib << 20}, bare_core_ms=1.5)


def test_the_end_is_compared_with_the_beginning_after_warm_up() -> None:
    chunks = (
        [chunk(9.0, 900)] + [chunk(2.0, 300)] * 14 + [chunk(5.0, 400)] * (CHUNKS - 23) + [chunk(2.1, 520)] * 8
    )
    found = AtScale("kappa", chunks, [Night(0, 1000, 5.0, 600 << 20), Night(1, 3000, 9.0, 660 << 20)])
    assert found.cost_change == pytest.approx(0.05)
    assert found.memory_change == pytest.approx(0.30)
    assert found.night_memory_change == pytest.approx(0.10)
    assert [target.met for target in targets([found])] == [True, False, True]
    plain = orjson.loads(orjson.dumps(as_plain([found])))
    assert len(plain["paths"][0]["chunks"]) == CHUNKS


def test_a_machine_that_slows_down_is_no_growing_cost() -> None:
    slower = replace(chunk(3.0, 400), bare_core_ms=2.25)
    assert AtScale("kappa", [chunk(2.0, 400)] * 20 + [slower] * 20).cost_change == pytest.approx(0.0)
    dearer = chunk(3.0, 400)
    assert AtScale("kappa", [chunk(2.0, 400)] * 20 + [dearer] * 20).cost_change == pytest.approx(0.5)


def test_memory_that_is_still_settling_is_not_compared() -> None:
    found = AtScale("kappa", [replace(chunk(2.0, 400), images=500)] * CHUNKS)
    assert found.cost_change == pytest.approx(0)
    assert found.memory_change is None


def test_an_interrupted_run_claims_nothing() -> None:
    found = AtScale("lambda", [chunk(2.0, 400)] * 3)
    assert [target.met for target in targets([found])] == [None, None]


def test_what_grows_can_be_seen_by_process() -> None:
    found = AtScale("kappa", [chunk(2.0, 400)] * CHUNKS)
    plain = as_plain([found])
    assert orjson.loads(orjson.dumps(plain))["paths"][0]["chunks"][0]["resident_bytes_by_process"] == {
        "worker": 400 << 20
    }


def drain(path: str, layout: str, cpu_seconds: float) -> LayoutDrain:
    return LayoutDrain(
        path, layout, 100, Used(2.0, {"a.worker": cpu_seconds * 0.75, "kafka": cpu_seconds / 4})
    )


def test_throughput_per_core_is_compared_round_by_round() -> None:
    found = ScaleOut()
    for single, scaled_out in ((1.0, 1.25), (1.1, 1.1), (1.0, 1.05)):
        found.drains += [drain(STREAM, SINGLE, single), drain(STREAM, SCALED_OUT, scaled_out)]
    found.drains.append(drain(ONLINE, SINGLE, 1.0))  # interrupted before the other
    assert found.drains[0].images_per_second == 50.0
    assert found.drains[0].images_per_core_second == pytest.approx(100.0)
    assert found.ratio(STREAM) == pytest.approx(1 / 1.05)
    assert found.ratio(ONLINE) is None
    assert [target.met for target in found.targets()] == [None, None, True]


def test_what_a_layout_cost_is_shown_by_process() -> None:
    found = ScaleOut(
        [drain(NIGHTLY, SINGLE, 1.0), drain(NIGHTLY, SCALED_OUT, 1.25)],
        {"lambda": {SINGLE: 27.0, SCALED_OUT: 56.0}},
    )
    console = Console(file=io.StringIO(), width=150)
    console.print(scale_out_tables(found))
    shown = console.file.getvalue()
    assert re.search(r"lambda_nightly, scaled out +50.0 +0.62 +12.50 +80.0 +worker 9.38, kafka 3.12", shown)
    assert re.search(r"lambda_nightly: throughput per core +>= 0.9 +0.800 .* NO", shown)
    assert re.search(r"lambda +27 +56", shown)


def test_small_images_are_few_and_keys_are_many(tmp_path: Path) -> None:
    assert len(small_images(tmp_path).images) == DISTINCT
    assert len({arrival_signature(number) for number in range(5000)}) == 5000
