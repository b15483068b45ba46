"""Each rule about how a run was measured, both ways, on synthetic runs; the rules about outcomes are in
test_results.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.machine_watch import machine_file
from bench.results import compute_result
from signals.ledger import Stage
from tests.unit.synthetic_run import SyntheticRun, at, complete_run

Spoil = Callable[[SyntheticRun], object]


def rules_of(
    run: SyntheticRun, machine: list[dict[str, Any]] | None = None, **manifest: Any
) -> dict[str, Any]:
    run_dir = run.write()
    path = run_dir / "manifest.json"
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **manifest}))
    if machine:
        machine_file(run_dir).write_bytes(b"\n".join(map(orjson.dumps, machine)))
    return {rule["id"]: rule for rule in compute_result(run_dir)["validity"]["rules"]}


def samples(*, stolen: float = 0.0, others: float = 0.0, step_seconds: float = 0.0) -> list[dict[str, Any]]:
    """Two minutes of a machine with two cores: busy for a half with the run, and with ``others`` of it."""
    rows = []
    for second in range(120):
        total = 2.0 * second
        rows.append(
            {
                "unix_ns": at(second) + (round(step_seconds * 1e9) if second >= 60 else 0),
                "monotonic_ns": second * 1_000_000_000,
                "busy_seconds": total * (0.5 + others),
                "idle_seconds": total * (0.5 - others - stolen),
                "steal_seconds": total * stolen,
                "own_seconds": total * 0.5,
                "own_memory_bytes": 1_000_000,
                "load_1m": 1.0,
            }
        )
    return rows


def growing(run: SyntheticRun) -> None:
    """Latency that grows ninefold over 200 arrivals of one more replicate of Kappa's."""
    run.day(arm="kappa", replicate=2)
    for n in range(200):
        run.arrival(n, n, 0.04 * n, replicate=2, arm="kappa")
        run.online(n, n, 0.04 * n, 0.04 * n + 0.01 + 0.0004 * n, replicate=2, arm="kappa")


def one_late_replicate(run: SyntheticRun) -> None:
    """Of four replicates of Kappa's; of all its arrivals together fewer than one in a hundred are late."""
    for replicate in (2, 3, 4):
        for n in range(100):
            late = 0.2 if replicate == 4 and n < 3 else 0.001
            run.arrival(n, n, 0.05 * n, late, replicate=replicate, arm="kappa")


def undrained(run: SyntheticRun) -> None:
    run.day(1, start=30.0, arm="kappa")
    run.arrival(500, 500, 9.0, arm="kappa")
    run.online(500, 500, 9.0, 31.0, arm="kappa")


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        ("generator_on_time", one_late_replicate),
        ("generator_never_stalled", lambda run: run.arrival(800, 800, 1.0, late=0.6, arm="kappa")),
        ("backlog_drained", undrained),
        ("steady_state", growing),
    ],
)
def test_what_the_ledger_shows_breaks_a_rule(tmp_path: Path, rule: str, spoil: Spoil) -> None:
    assert rules_of(complete_run(tmp_path / "sound"))[rule]["ok"]
    run = complete_run(tmp_path / "spoiled")
    spoil(run)
    found = rules_of(run)[rule]
    assert not found["ok"]
    assert found["measured"]["kappa"]


def test_cpu_batches_of_a_run_on_cuda_are_a_fallback(tmp_path: Path) -> None:
    assert rules_of(complete_run(tmp_path / "a"), device="cpu")["device_as_configured"]["ok"]
    fallen = rules_of(complete_run(tmp_path / "b"), device="cuda")["device_as_configured"]
    assert not fallen["ok"]
    assert fallen["measured"] == {"lambda": 78, "kappa": 39}
    run = complete_run(tmp_path / "c")
    for event in run.events:
        if event["stage"] == Stage.DEVICE_BUSY:
            event["device"] = "cuda:0 NVIDIA H100"
    assert rules_of(run, device="cuda")["device_as_configured"]["ok"]


def test_a_run_must_carry_the_percentiles_that_it_claims(tmp_path: Path) -> None:
    assert rules_of(complete_run(tmp_path / "a"), claimed_percentiles=["p50"])["enough_samples"]["ok"]
    found = rules_of(complete_run(tmp_path / "b"), claimed_percentiles=["p50", "p90"])["enough_samples"]
    assert not found["ok"]
    assert found["measured"]["kappa"] == ["online p90", "batch p90"]


@pytest.mark.parametrize(
    ("rule", "spoiled", "measured"),
    [
        ("no_clock_steps", samples(step_seconds=-0.5), 0.5),
        ("nothing_stolen", samples(stolen=0.1), 0.1),
        ("machine_quiet", samples(others=0.2), 0.2),
    ],
)
def test_what_the_machine_did_breaks_a_rule(
    tmp_path: Path, rule: str, spoiled: list[dict[str, Any]], measured: float
) -> None:
    unsampled = rules_of(complete_run(tmp_path / "a"))[rule]
    assert unsampled["ok"]
    assert unsampled["measured"] is None
    sound = rules_of(complete_run(tmp_path / "b"), samples())[rule]
    assert sound["ok"]
    assert sound["measured"] == pytest.approx(0.0)
    found = rules_of(complete_run(tmp_path / "c"), spoiled)[rule]
    assert not found["ok"]
    assert found["measured"] == pytest.approx(measured)


def test_every_broken_file_of_the_workload_must_be_refused(tmp_path: Path) -> None:
    assert rules_of(complete_run(tmp_path / "a"), poisoned_images=1)["poison_refused"]["ok"]
    accepted = rules_of(complete_run(tmp_path / "b"), poisoned_images=2)["poison_refused"]
    assert not accepted["ok"]
    assert accepted["measured"] == {"lambda": 1, "kappa": 1}
