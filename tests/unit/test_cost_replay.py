"""The simulator against runs with known answers: a queue whose departures are computed here one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from bench.commands.simulate import simulate as simulate_command
from bench.cost.replay import Comparison, Run, replay
from bench.exit_codes import ExitCode
from bench.results import write_result
from signals.errors import ConfigurationError
from signals.ledger import Stage
from tests.unit.synthetic_run import GALAXY, SyntheticRun, complete_run, signature

BEFORE, AFTER, TABLE = 0.010, 0.005, 5.0  # seconds: fetch and decode, publish, from midnight to the table


def queue_run(path: Path, *, rate: float, seed: int, service: float = 0.05, images: int = 300) -> Path:
    """One device, one image at a time, random arrivals."""
    run = SyntheticRun(path, arms=("kappa",), day_seconds=images / rate)
    worker: dict[str, Any] = {"arm": "kappa", "path": "stream", "pool": "stream", "device": "cpu:0"}
    run.day(arm="kappa")
    run.row(Stage.DEVICE_PROVISIONED, -2.0, -1.0, **worker, process="worker")
    free = 0.0
    for number, scheduled in enumerate(np.sort(np.random.default_rng(seed).random(images)) * images / rate):
        of_image = {**worker, "day": 0, "event_id": number, "image_signature": signature(number)}
        of_image |= {"galaxy": GALAXY, "process": "worker"}
        waits = float(scheduled) + BEFORE
        begins = max(free, waits)
        free = begins + service
        run.arrival(number, number, float(scheduled), arm="kappa")
        run.row(Stage.BATCH_WAIT, waits, begins, **of_image)
        run.row(Stage.INFERENCE, begins, free, **of_image)
        run.row(Stage.DEVICE_BUSY, begins, free, **worker, process="worker", batch_size=1)
        run.online(number, number, float(scheduled), free + AFTER, arm="kappa")
        run.batch(number, run.day_seconds + TABLE, arm="kappa")
    run.row(Stage.DEVICE_RELEASED, -1.0, run.day_seconds + TABLE + 1, **worker, process="worker")
    run_dir = run.write()
    manifest = orjson.loads((run_dir / "manifest.json").read_bytes())
    manifest["config"]["inference"] = {"max_batch": 1}
    (run_dir / "manifest.json").write_bytes(orjson.dumps(manifest))
    return run_dir


def by_figure(rows: list[Comparison]) -> dict[str, Comparison]:
    return {row.figure: row for row in rows}


def test_another_load_is_predicted_from_service_times_alone(tmp_path: Path) -> None:
    fitted = queue_run(tmp_path / "slow", rate=5, seed=1)
    other = queue_run(tmp_path / "fast", rate=14, seed=2)  # utilisation 0.7: its queue is another one
    rows = by_figure(replay(Run.load(fitted), Run.load(other)))
    assert rows["online availability, median"].measured > 1.15 * (BEFORE + 0.05 + AFTER)
    for row in rows.values():
        assert row.error == pytest.approx(0, abs=1e-5), row.figure  # Unix times have no finer digits
        assert row.ok


def test_a_run_on_a_slower_device_is_not_reproduced(tmp_path: Path) -> None:
    fitted = queue_run(tmp_path / "a", rate=5, seed=1)
    other = queue_run(tmp_path / "b", rate=5, seed=2, service=0.08)
    rows = by_figure(replay(Run.load(fitted), Run.load(other)))
    assert not rows["online availability, median"].ok
    assert rows["  in batches, always-on pool"].error == pytest.approx(0.05 / 0.08 - 1)
    assert rows["device time held, all pools"].ok
    result = write_result(fitted)
    result["validity"]["valid"] = False
    (fitted / "result.json").write_bytes(orjson.dumps(result))
    write_result(other)
    shown = CliRunner().invoke(simulate_command, [str(fitted), "--against", str(other), "--json"])
    assert f"run {fitted.name} is INVALID" in shown.stderr
    assert f"run {other.name} is INVALID" not in shown.stderr
    assert shown.exit_code == ExitCode.VERIFICATION_FAILED
    assert {row["figure"] for row in orjson.loads(shown.stdout)} == set(rows)
    again = CliRunner().invoke(simulate_command, [str(fitted), "--against", str(fitted)])
    assert again.exit_code == 0, again.output
    assert "OUTSIDE" not in again.output


class CountedRow(dict[str, Any]):
    """Counts how often something is read of any of them."""

    reads = 0

    def __getitem__(self, name: str) -> Any:
        CountedRow.reads += 1
        return super().__getitem__(name)


def test_twice_the_images_take_twice_the_work(tmp_path: Path) -> None:
    night = {"arm": "kappa", "replicate": 1, "day": 0, "work_seconds": 2.0, "devices": 1, "held_seconds": 3.0}
    fitted = replace(
        Run.load(queue_run(tmp_path / "fitted", rate=5, seed=1, images=50)), nights=[{**night, "images": 50}]
    )
    reads = []
    for images in (100, 200):
        other = Run.load(queue_run(tmp_path / f"{images}", rate=5, seed=2, images=images))
        CountedRow.reads = 0
        replay(fitted, replace(other, images=[CountedRow(row) for row in other.images]))
        reads.append(CountedRow.reads)
    assert reads[1] <= 2 * reads[0]


def test_what_was_not_measured_is_never_within() -> None:
    assert not Comparison("kappa", "figure", "s", 1.0, 0.0, 0.1).ok


def test_runs_that_share_nothing_are_refused(tmp_path: Path) -> None:
    fitted = Run.load(queue_run(tmp_path / "a", rate=5, seed=1, images=20))
    other = Run.load(complete_run(tmp_path / "b").write())
    with pytest.raises(ConfigurationError, match="computed nothing"):
        replay(other, fitted)
    renamed = Run([{**row, "arm": "mine"} for row in other.images], [], [], {}, 8)
    with pytest.raises(ConfigurationError, match="no arm in common"):
        replay(fitted, renamed)
