from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from bench.commands.scale import as_plain, targets
from bench.scale.measure import CHUNKS, AtScale, Chunk, Night
from bench.scale.small_images import DISTINCT, signature, small_images


def chunk(core_ms: float, mib: int) -> Chunk:
    return Chunk(100, 1.0, core_ms, mib << 20)


def test_the_end_is_compared_with_the_beginning_after_warm_up() -> None:
    chunks = (
        [chunk(9.0, 900)] + [chunk(2.0, 400)] * 8 + [chunk(5.0, 500)] * (CHUNKS - 17) + [chunk(2.1, 520)] * 8
    )
    found = AtScale("kappa", chunks, [Night(0, 1000, 5.0, 600 << 20), Night(1, 3000, 9.0, 660 << 20)])
    assert found.cost_change == pytest.approx(0.05)
    assert found.memory_change == pytest.approx(0.30)
    assert found.night_memory_change == pytest.approx(0.10)
    assert [target.met for target in targets([found])] == [True, False, True]
    plain = orjson.loads(orjson.dumps(as_plain([found])))
    assert len(plain["paths"][0]["chunks"]) == CHUNKS


def test_an_interrupted_run_claims_nothing() -> None:
    found = AtScale("lambda", [chunk(2.0, 400)] * 3)
    assert [target.met for target in targets([found])] == [None, None, None]


def test_small_images_are_few_and_keys_are_many(tmp_path: Path) -> None:
    assert len(small_images(tmp_path).images) == DISTINCT
    assert len({signature(number) for number in range(5000)}) == 5000
