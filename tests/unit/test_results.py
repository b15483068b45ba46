from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.results import compute_result, write_result
from signals.errors import ConfigurationError
from signals.ledger import Stage
from tests.unit.synthetic_run import SyntheticRun, complete_run, hive_rows, write_partition


def broken_rules(result: dict[str, Any]) -> set[str]:
    return {rule["id"] for rule in result["validity"]["rules"] if not rule["ok"]}


def one_arm(run_dir: Path) -> SyntheticRun:
    run = SyntheticRun(run_dir, arms=("kappa",))
    run.day()
    return run


def test_a_sound_run_is_valid_and_its_figures_are_known(tmp_path: Path) -> None:
    result = write_result(complete_run(tmp_path / "run-1").write())
    assert result["validity"]["verdict"] == "VALID", broken_rules(result)
    assert result == orjson.loads((tmp_path / "run-1" / "result.json").read_bytes())
    lam, kappa = result["arms"]["lambda"], result["arms"]["kappa"]

    online = lam["latency"]["online"]
    assert online["n"] == 39
    assert online["source"] == "measured"
    assert online["p50_seconds"] == pytest.approx(0.05)
    assert "p50_seconds" not in online["reasons"]
    assert online["p99_seconds"] is None
    assert online["reasons"]["p99_seconds"] == "needs 459 samples, has 39"
    # 39 keys, 0.2 s apart from 0: the median one was scheduled at 3.8 s.
    assert lam["latency"]["batch"]["p50_seconds"] == pytest.approx(30 - 3.8)
    assert kappa["latency"]["batch"]["max_seconds"] == pytest.approx(15.0)
    assert kappa["latency"]["online_repeat"]["n"] == 1

    assert kappa["completeness"]["offered_arrivals"] == 41
    assert kappa["completeness"]["distinct_keys"] == 40
    assert kappa["completeness"]["signals"] == 78
    assert [row["reason"] for row in kappa["dead_letters"]["rows"]] == ["truncated"]
    assert {row["path"] for row in lam["dead_letters"]["rows"]} == {"online", "nightly"}
    assert lam["recomputed"]["extra_across_paths"] == 39
    assert kappa["recomputed"]["recomputed_keys"] == 0
    assert kappa["images_per_second"]["offered_per_second"] == pytest.approx(4.1)
    assert kappa["images_per_second"]["sustained_per_second"] == pytest.approx(4.0)
    assert kappa["images_per_second"]["nightly_inference_per_second"] is None
    assert lam["images_per_second"]["nightly_inference_per_second"] == pytest.approx(39 / 1.95)
    assert kappa["replicates"]["1"]["latency"] == kappa["latency"]


def test_always_on_pools_are_booked_for_the_day_and_the_nightly_pool_for_its_session(tmp_path: Path) -> None:
    result = compute_result(complete_run(tmp_path / "run-1").write())
    pools = {pool["pool"]: pool for pool in result["arms"]["lambda"]["device_hours"]["pools"]}
    assert set(pools) == {"online", "nightly"}
    assert pools["online"]["allocated_hours"] * 3600 == pytest.approx(10.0)
    assert pools["online"]["session_hours"] * 3600 == pytest.approx(36.0)
    assert pools["online"]["busy_hours"] * 3600 == pytest.approx(0.39)
    assert pools["online"]["wasted_hours"] * 3600 == pytest.approx(9.61)
    assert pools["online"]["unit"] == "CPU device hours"
    assert pools["nightly"]["allocated_hours"] * 3600 == pytest.approx(6.0)
    assert pools["nightly"]["provisioning_hours"] * 3600 == pytest.approx(2.0)
    assert pools["nightly"]["busy_hours"] * 3600 == pytest.approx(39 * 0.04)
    kappa = result["arms"]["kappa"]["device_hours"]["pools"]
    assert [pool["pool"] for pool in kappa] == ["stream"]


def test_a_killed_process_held_its_device_until_its_last_row(tmp_path: Path) -> None:
    run = one_arm(tmp_path / "run-1")
    pool: dict[str, Any] = {
        "pool": "stream",
        "device": "cuda:0 NVIDIA T4",
        "process": "worker",
        "path": "stream",
    }
    run.row(Stage.DEVICE_PROVISIONED, 0.0, 1.0, pid=7, **pool)
    run.row(Stage.DEVICE_BUSY, 2.0, 3.0, pid=7, batch_size=4, **pool)
    run.row(Stage.FETCH, 3.0, 4.0, pid=7, **pool)  # killed after this
    run.row(Stage.PROCESS_RESTARTED, 5.0, 5.0, detail="worker", path="stream", process="supervisor")
    run.row(Stage.DEVICE_PROVISIONED, 5.0, 6.0, pid=8, **pool)
    run.row(Stage.DEVICE_BUSY, 9.5, 10.5, pid=8, batch_size=4, **pool)  # until 0.5 s after midnight
    run.row(Stage.DEVICE_RELEASED, 6.0, 12.0, pid=8, **pool)
    run.arrival(0, 0, 0.5)
    result = compute_result(run.write())
    (pool_row,) = result["arms"]["kappa"]["device_hours"]["pools"]
    assert pool_row["unit"] == "GPU hours"
    assert (pool_row["sessions"], pool_row["unreleased"]) == (2, 1)
    assert pool_row["session_hours"] * 3600 == pytest.approx(4.0 + 7.0)
    assert pool_row["allocated_hours"] * 3600 == pytest.approx(4.0 + 5.0)
    assert pool_row["busy_hours"] * 3600 == pytest.approx(1.5)
    assert pool_row["busy_outside_hours"] * 3600 == pytest.approx(0.5)
    assert pool_row["images"] == 8
    assert result["arms"]["kappa"]["restarts"]["total"] == 1
    assert "no_restarts" in broken_rules(result)


@pytest.mark.parametrize("pool", ["stream", "nightly"])
def test_a_gpu_that_two_processes_share_is_booked_once(tmp_path: Path, pool: str) -> None:
    run = SyntheticRun(tmp_path / "run-1", arms=("kappa",), day_seconds=3600.0)
    run.day()
    of_gpu: dict[str, Any] = {"pool": pool, "device": "cuda:0 NVIDIA T4", "path": pool}
    for pid in (7, 8):
        process = {**of_gpu, "process": f"worker_{pid}", "pid": pid}
        run.row(Stage.DEVICE_PROVISIONED, 0.0, 36.0, **process)
        run.row(Stage.DEVICE_RELEASED, 36.0, 3600.0, **process)
    busy = {**of_gpu, "batch_size": 4}
    run.row(Stage.DEVICE_BUSY, 100.0, 400.0, **busy, process="worker_7", pid=7)
    run.row(Stage.DEVICE_BUSY, 200.0, 300.0, **busy, process="worker_8", pid=8)  # inside the one before
    run.row(Stage.DEVICE_BUSY, 350.0, 460.0, **busy, process="worker_8", pid=8)
    run.arrival(0, 0, 0.5)
    (pool_row,) = compute_result(run.write())["arms"]["kappa"]["device_hours"]["pools"]
    assert (pool_row["sessions"], pool_row["unit"]) == (2, "GPU hours")
    assert pool_row["allocated_hours"] == pytest.approx(1.0)
    assert pool_row["session_hours"] == pytest.approx(1.0)
    assert pool_row["provisioning_hours"] == pytest.approx(0.01)
    assert pool_row["busy_hours"] == pytest.approx(0.1)
    assert pool_row["wasted_hours"] == pytest.approx(0.9)
    assert (pool_row["images"], pool_row["batches"]) == (12, 3)


def test_a_lost_image_is_counted_and_held_against_the_percentiles(tmp_path: Path) -> None:
    run = one_arm(tmp_path / "run-1")
    for n in range(10):
        run.arrival(n, n, 0.1 * n)
        if n < 8:
            run.online(n, n, 0.1 * n, 0.1 * n + 0.5)
            run.batch(n, 12.0)
    result = compute_result(run.write())
    figures = result["arms"]["kappa"]
    assert figures["completeness"]["lost_arrivals"] == 2
    assert figures["completeness"]["lost_keys"] == 2
    assert figures["completeness"]["lost"] == 4
    assert figures["completeness"]["duplicated"] is None  # this history has no Hive table
    online = figures["latency"]["online"]
    assert (online["n"], online["lost"]) == (10, 2)
    assert online["p50_seconds"] == pytest.approx(0.5)
    assert online["max_seconds"] is None
    assert online["reasons"]["max_seconds"] == "2 of 10 never became available"
    assert {"no_lost_arrivals", "no_lost_keys"} <= broken_rules(result)


def test_a_phantom_a_duplicate_and_a_contradiction_make_a_run_invalid(tmp_path: Path) -> None:
    run_dir = tmp_path / "run-1"
    run = one_arm(run_dir)
    run.arrival(0, 0, 0.0)
    run.online(0, 0, 0.0, 1.0)
    run.batch(0, 12.0)
    run.batch(99, 12.0)  # never arrived
    run.arrival(1, 1, 0.5)
    run.online(1, 1, 0.5, 1.0)
    run.dead_letter(1, 1.5, "corrupt", event_id=1)
    run.batch(1, 12.0)
    write_partition(run_dir, "kappa", hive_rows([0, 0, 99]))
    result = compute_result(run.write())
    figures = result["arms"]["kappa"]["completeness"]
    assert figures["phantom_keys"] == 1
    assert figures["contradicted_arrivals"] == figures["contradicted_keys"] == 1
    assert (figures["signals"], figures["duplicated_signals"]) == (6, 2)
    assert {"no_phantoms", "no_duplicates", "one_outcome_each"} <= broken_rules(result)


def test_redelivery_and_repeated_dead_letters_count_once(tmp_path: Path) -> None:
    run = one_arm(tmp_path / "run-1")
    run.arrival(0, 0, 0.0)
    run.online(0, 0, 0.0, 1.0)
    run.online(0, 0, 0.0, 2.0, outcome="redelivered")
    run.arrival(1, 1, 0.5)
    run.dead_letter(1, 1.0, "corrupt", event_id=1)
    run.dead_letter(1, 2.0, "corrupt", event_id=1, attempt=2)
    figures = compute_result(run.write())["arms"]["kappa"]
    assert figures["completeness"]["redelivered_announcements"] == 1
    assert figures["completeness"]["available_arrivals"] == 1
    assert figures["completeness"]["dead_letter_arrivals"] == 1
    assert [(row["keys"], row["arrivals"]) for row in figures["dead_letters"]["rows"]] == [(1, 1)]
    assert figures["latency"]["online"]["max_seconds"] == pytest.approx(1.0)


def test_an_online_dead_letter_does_not_excuse_the_nightly_path(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run-1", arms=("lambda",))
    run.day(arm="lambda")
    run.arrival(0, 0, 0.0, arm="lambda")
    run.dead_letter(0, 1.0, "corrupt", event_id=0, arm="lambda", path="online")
    figures = compute_result(run.write())["arms"]["lambda"]["completeness"]
    assert (figures["lost_arrivals"], figures["lost_keys"]) == (0, 1)


def test_latency_is_over_first_arrivals_and_repeats_are_apart(tmp_path: Path) -> None:
    run = one_arm(tmp_path / "run-1")
    for n in range(7):
        run.arrival(n, n, float(n))
        run.online(n, n, float(n), n + 1.0)
    for n in range(7):
        run.arrival(7 + n, n, 8.0)
        run.online(7 + n, n, 8.0, 8.1)
    consumers = compute_result(run.write())["arms"]["kappa"]["latency"]
    assert consumers["online"]["p50_seconds"] == pytest.approx(1.0)
    assert consumers["online_repeat"]["p50_seconds"] == pytest.approx(0.1)


def test_what_arrives_during_warm_up_is_no_part_of_online_latency(tmp_path: Path) -> None:
    run = complete_run(tmp_path / "run-1")
    run.row(Stage.WARM_UP, 0.0, 1.0, arm="kappa", day=0, path="harness")
    kappa = compute_result(run.write())["arms"]["kappa"]
    assert kappa["latency"]["online"]["n"] == 39 - 5  # one image every 0.2 s
    assert kappa["latency"]["batch"]["n"] == 39
    assert kappa["completeness"]["offered_arrivals"] == 41


def test_the_images_that_are_followed_are_those_that_the_published_figures_rank(tmp_path: Path) -> None:
    run = one_arm(tmp_path / "run-1")
    run.row(Stage.WARM_UP, 0.0, 1.0, day=0, path="harness")
    for n in range(16):  # the first seven arrive during warm-up, and wait longest
        scheduled = n / 7
        run.arrival(n, n, scheduled)
        run.online(n, n, scheduled, scheduled + (9.0 if n < 7 else n / 10))
    result = compute_result(run.write())
    online = result["arms"]["kappa"]["latency"]["online"]
    followed = {image["which"]: image["online_seconds"] for image in result["lives"]["images"]}
    assert online["n"] == 9
    assert followed == {"median": online["p50_seconds"], "slowest": online["max_seconds"]}


def test_retries_and_recomputation_within_a_path(tmp_path: Path) -> None:
    run = one_arm(tmp_path / "run-1")
    of_image: dict[str, Any] = {
        "path": "stream",
        "galaxy": "pins",
        "image_signature": "aa",
        "event_id": 0,
        "day": 0,
    }
    for attempt in (1, 2):
        for stage in (Stage.QUEUE, Stage.FETCH, Stage.INFERENCE):
            run.row(stage, attempt, attempt + 0.5, attempt=attempt, **of_image)
    figures = compute_result(run.write())["arms"]["kappa"]
    assert figures["retries"]["total"] == 1
    assert figures["recomputed"]["extra_within_path"] == 1
    assert figures["recomputed"]["extra_across_paths"] == 0


@pytest.mark.parametrize(
    ("rule", "spoil"),
    [
        (
            "generator_on_time",
            lambda run: [run.arrival(n, n, 1.0, late=0.5, arm="kappa") for n in range(100, 110)],
        ),
        ("clocks_run_forward", lambda run: run.row(Stage.FETCH, 2.0, 1.0)),
        ("announced_is_readable", lambda run: run.online(0, 0, 0.0, 0.1, outcome="missing")),
        ("same_workload", lambda run: run.arrival(900, 5, 1.0)),
        (
            "same_workload",
            lambda run: [
                run.arrival(0, image, 1.0, replicate=2, arm=arm) for image, arm in enumerate(run.arms)
            ],
        ),
        ("same_verdicts", lambda run: run.dead_letter(7, 9.0, "corrupt", arm="kappa", event_id=7)),
        ("load_was_sustained", lambda run: [run.arrival(n, n, 1.0) for n in range(200, 220)]),
    ],
)
def test_a_broken_rule_is_named_with_advice(tmp_path: Path, rule: str, spoil: Any) -> None:
    run = complete_run(tmp_path / "run-1")
    spoil(run)
    result = compute_result(run.write())
    assert rule in broken_rules(result)
    assert result["validity"]["valid"] is False
    (found,) = [r for r in result["validity"]["rules"] if r["id"] == rule]
    assert found["reason"].endswith(f"; limit {found['limit']}")
    assert found["advice"]
    held = [r for r in result["validity"]["rules"] if r["ok"]]
    assert held
    assert {r["reason"] + r["advice"] for r in held} == {""}  # those of a breach


def test_a_run_that_was_aborted_or_did_nothing_is_invalid(tmp_path: Path) -> None:
    assert "completed" in broken_rules(compute_result(complete_run(tmp_path / "a").write(status="aborted")))
    empty = compute_result(SyntheticRun(tmp_path / "b").write())
    assert {"every_arm_produced_signals", "enough_samples", "arms_agree"} <= broken_rules(empty)


def test_a_run_without_a_ledger_says_so(tmp_path: Path) -> None:
    run_dir = complete_run(tmp_path / "run-1").write(sealed=False)
    with pytest.raises(ConfigurationError, match=r"events\.parquet is missing"):
        compute_result(run_dir)


@settings(max_examples=15, deadline=None)
@given(
    milliseconds=st.lists(st.integers(0, 100_000), min_size=1, max_size=500),
    lost=st.integers(0, 30),
)
def test_percentiles_match_numpy_and_the_binomial_rule(milliseconds: list[int], lost: int) -> None:
    with TemporaryDirectory() as folder:
        run = one_arm(Path(folder) / "run-1")
        for n, latency in enumerate(milliseconds):
            run.arrival(n, n, 0.0)
            run.online(n, n, 0.0, latency / 1000)
        for n in range(len(milliseconds), len(milliseconds) + lost):
            run.arrival(n, n, 0.0)
        online = compute_result(run.write())["arms"]["kappa"]["latency"]["online"]
    sample = np.sort(np.array([*milliseconds, *[math.inf] * lost]) / 1000)
    for name, p in (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        # With n samples, the chance that none lies above the true percentile.
        carried = stats.binom.pmf(len(sample), len(sample), p) <= 0.01
        below = sample[math.floor((len(sample) - 1) * p) : math.ceil((len(sample) - 1) * p) + 1]
        if not carried:
            assert "samples" in online["reasons"][f"{name}_seconds"]
        elif not np.isfinite(below).all():
            assert "never became available" in online["reasons"][f"{name}_seconds"]
        else:
            # What lies above the interpolated pair doesn't matter, but NumPy can't interpolate towards inf.
            finite = np.where(np.isfinite(sample), sample, 1e6)
            assert online[f"{name}_seconds"] == pytest.approx(np.percentile(finite, 100 * p), abs=1e-6)
    if not lost:
        assert online["max_seconds"] == pytest.approx(sample[-1], abs=1e-6)
