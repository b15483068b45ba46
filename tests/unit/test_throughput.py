from __future__ import annotations

import io
import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from bench.commands.throughput_tables import tables
from bench.limit.loop import Window
from bench.limit.worker import Layout
from bench.throughput.conversions import ConversionSpeed, measure_conversions
from bench.throughput.drains import ONLINE, STREAM, Drain
from bench.throughput.findings import Findings
from bench.throughput.gss import GssSpeed
from bench.throughput.latency import HALF_LOAD, LatencyRound, Level
from bench.throughput.offer import offer_at, poisson_seconds
from bench.throughput.overhead import Overhead
from bench.throughput.processes import LOOK_SECONDS, ProcessMeter, process_name
from bench.throughput.sustained import completed_per_second
from bench.throughput.targets import targets

BARE = Window(100, 1.0, 100.0, 15.0, 1.0)
DRAIN = Drain(STREAM, 200, 2.5, {"worker": 15.0, "kafka": 2.0}, 1 << 20, 1600, (BARE, BARE))


def latency_round(path: str, *, alone_seconds: float, p50_seconds: float, p99_seconds: float) -> LatencyRound:
    used = {"lambda_pipeline.online.worker": 20.0, "kafka": 5.0}
    half = Level(HALF_LOAD, 40.0, 100, p50_seconds, p99_seconds, used, 2.5)
    bare = Level(HALF_LOAD, 40.0, 100, 0.009, 0.025, {"bare loop": 15.0, "s3proxy": 1.0}, 2.5)
    return LatencyRound(path, 80.0, alone_seconds, (half,), bare_alone_seconds=0.008, bare=bare)


def test_a_drain_is_compared_with_the_bare_loop_around_it() -> None:
    assert DRAIN.images_per_second == 80.0
    assert DRAIN.ratio == 0.8
    assert DRAIN.core_ms_per_image == 17.0
    assert DRAIN.plumbing_core_ms == 1.0


def test_a_target_is_met_missed_or_not_measured() -> None:
    latencies = [
        latency_round(STREAM, alone_seconds=0.010, p50_seconds=0.014, p99_seconds=0.050),
        latency_round(STREAM, alone_seconds=0.010, p50_seconds=0.011, p99_seconds=0.900),
        # All of it slower, its images alone as well.
        latency_round(STREAM, alone_seconds=0.020, p50_seconds=0.029, p99_seconds=0.060),
    ]
    found = targets([DRAIN, replace(DRAIN, seconds=2.0)], [], GssSpeed(12e3, 2e-4, 9e-4), [], latencies, 0.03)
    by_name = {target.name: target for target in found}
    throughput = by_name["kappa_stream: throughput"]
    assert throughput.measured == pytest.approx(0.9) and throughput.met is False
    assert by_name["lambda_online: throughput"].met is None
    assert by_name["kappa_stream: plumbing, near-free model"].met is None
    p50 = by_name["kappa_stream: p50 at half load"]
    assert p50.measured == pytest.approx(1.4) and p50.met is True
    p99 = by_name["kappa_stream: p99 at half load"]  # of the rounds' median: one hiccup does not decide
    assert p99.measured == pytest.approx(5.0) and p99.met is False
    assert by_name["GSS: multi-get of 5 KB values"].met is True
    assert by_name["harness: ledger, probe, generator"].met is False


def test_what_was_measured_is_kept_and_shown_though_the_rest_is_missing(tmp_path: Path) -> None:
    found = Findings(Layout(2, 1, 2, 1), Layout(2, 1, 0, 1))
    assert found.is_empty
    found.drains += [DRAIN, replace(DRAIN, seconds=2.0), replace(DRAIN, seconds=4.0)]
    for p50_seconds in (0.02, 0.01):
        found.latencies.append(
            latency_round(ONLINE, alone_seconds=0.010, p50_seconds=p50_seconds, p99_seconds=4 * p50_seconds)
        )
    found.save(tmp_path / "found.json")
    kept = orjson.loads((tmp_path / "found.json").read_bytes())
    assert kept["is_complete"] is False
    assert [(drain["path"], drain["ratio"]) for drain in kept["drains"]] == [
        (STREAM, 0.8),
        (STREAM, 1.0),
        (STREAM, 0.5),
    ]
    assert kept["latencies"][0]["levels"][0]["p99_seconds"] == pytest.approx(0.08)
    assert kept["latencies"][0]["levels"][0]["cores"] == pytest.approx(1.0)
    assert {target["met"] for target in kept["targets"]} == {False, None}
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(tables(found))
    shown = console.export_text()
    assert "not complete" in shown
    assert kept["cores_awake"] is False and "Cores without work: asleep" in shown
    assert re.search(r"40\.0 .* 25\.00 +1\.00 +online\.worker 20\.00", shown)
    assert re.search(rf"{STREAM} +80\.0 \(50\.0-100\.0\) +0\.800 \(0\.500-1\.000\) +17\.00 \(", shown)
    assert re.search(r"sustained +80\.0 +2 rounds", shown)
    assert re.search(r"one image alone +- +2 x 20 +10\.0 \(10\.0-10\.0\)", shown)
    assert re.search(r"of the bare loop +- +2 x 10 +8\.0 \(8\.0-8\.0\)", shown)
    assert re.search(r"50% load +40\.0 +2 x 100 +15\.0 \(10\.0-20\.0\) +60\.0 \(", shown)
    assert re.search(r"of the bare loop +40\.0 +2 x 100 +9\.0 \(9\.0-9\.0\) +25\.0 \(.* 16\.00 +0\.64", shown)


def test_the_harness_share_counts_rows_probe_and_generator() -> None:
    overhead = Overhead(ledger_us_per_row=5.0, probe_us_per_image=50.0, generator_us_per_image=10.0)
    assert overhead.share_of_cores(rows_per_image=8, images_per_second=200, cores=2) == pytest.approx(0.01)


def test_conversions_of_both_arms_are_found_and_timed() -> None:
    found = measure_conversions(rows=70)
    assert [item.name for item in found] == ["kappa_dump", "lambda_steps_6_7"]
    assert all(isinstance(item, ConversionSpeed) and item.rows_per_second > 0 for item in found)


def test_processes_are_named_by_what_they_run() -> None:
    assert process_name(["java", "-cp", "x", "kafka.Kafka", "server.properties"]) == "kafka"
    assert process_name(["java", "org.apache.spark.deploy.SparkSubmit", "pyspark-shell"]) == "spark"
    assert process_name(["/usr/bin/python", "-m", "signals.gss", "--data", "x"]) == "signals.gss"
    assert process_name(["postgres: checkpointer"]) == "postgres"
    assert process_name(["python", "-c", "from multiprocessing.spawn import spawn_main"]) == ""
    assert process_name([]) == "other"


def test_the_meter_books_this_process_between_two_times() -> None:
    with ProcessMeter() as meter:
        start_ns = time.time_ns()
        deadline = time.process_time() + 0.15
        while time.process_time() < deadline:
            pass
        end_ns = time.time_ns()
    used = meter.cpu_seconds(start_ns - 10**9, end_ns + 10**9)
    assert used["driver"] >= 0.1
    middle_ns = (start_ns + end_ns) // 2  # between two samples
    parts = meter.cpu_seconds(start_ns, middle_ns)["driver"] + meter.cpu_seconds(middle_ns, end_ns)["driver"]
    assert parts == pytest.approx(meter.cpu_seconds(start_ns, end_ns)["driver"])
    assert 0.0 < meter.cpu_seconds(middle_ns, middle_ns + 10**7)["driver"] < 0.05
    assert meter.peak_bytes(start_ns - 10**9, end_ns + 10**9) > 1 << 20


def test_the_meter_books_a_process_from_its_launch_on() -> None:
    work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; read wait"
    with ProcessMeter() as meter:
        time.sleep(0.3)
        started_ns = time.time_ns()
        child = subprocess.Popen(["sh", "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(3 * LOOK_SECONDS)  # until it is sampled
        child.communicate("\n")
    clock_ns = 20_000_000  # the kernel tells a start to a hundredth of a second
    assert meter.cpu_seconds(0, started_ns - clock_ns)["sh"] == 0.0
    all_of_it = meter.cpu_seconds(0, time.time_ns())["sh"]
    assert meter.cpu_seconds(started_ns - clock_ns, time.time_ns())["sh"] == all_of_it > 0.05


def test_arrivals_at_given_times_never_wait_for_the_system() -> None:
    offered: list[tuple[int, int]] = []
    due = poisson_seconds(np.random.default_rng(1), 200, 2000.0)
    assert 0.09 < due[-1] <= 0.1
    scheduled = offer_at(lambda number, at_ns: offered.append((number, at_ns)), 3, due)
    assert offered == list(scheduled.items())
    assert list(scheduled) == list(range(3, 203))
    assert np.diff(list(scheduled.values())) / 1e9 == pytest.approx(np.diff(due), abs=1e-6)


@given(
    offered_per_second=st.floats(20, 500),
    capacity_per_second=st.floats(20, 500),
    start_ns=st.integers(0, 2**61),
)
def test_a_path_sustains_its_capacity_or_all_that_is_offered(
    offered_per_second: float, capacity_per_second: float, start_ns: int
) -> None:
    due_ns = np.round(np.arange(1_000) * (1e9 / offered_per_second)).astype(np.int64)
    ends_ns, free_ns = [], 0
    for at_ns in due_ns.tolist():  # one server, in order
        free_ns = max(free_ns, at_ns) + round(1e9 / capacity_per_second)
        ends_ns.append(free_ns)
    found = completed_per_second(start_ns + due_ns, start_ns + np.array(ends_ns))
    assert type(found) is float  # one of numpy's can't be kept as JSON
    # 700 of them count, or more that took as long: one of them is late or early at either end.
    assert found == pytest.approx(min(offered_per_second, capacity_per_second), rel=0.05)


@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 300),
    rate_per_second=st.floats(1e-3, 1e6, allow_nan=False),
)
def test_arrivals_come_at_the_rate_that_was_asked_for(seed: int, count: int, rate_per_second: float) -> None:
    due = poisson_seconds(np.random.default_rng(seed), count, rate_per_second)
    assert len(due) == count
    assert (np.diff(due) >= 0).all()
    assert due[0] >= 0 and due[-1] <= count / rate_per_second


def test_gaps_between_arrivals_are_those_of_a_poisson_process() -> None:
    gaps_seconds = np.diff(poisson_seconds(np.random.default_rng(1), 5_000, 50.0))
    assert stats.kstest(gaps_seconds, stats.expon(scale=1 / 50.0).cdf).pvalue > 0.01
