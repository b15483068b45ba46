"""What processes take: counted by themselves, told by the kernel, sealed, and turned into figures."""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import orjson
import psutil
import pyarrow.parquet as pq
import pytest

from bench.ledger_query import open_ledger
from bench.resources.relation import resources_path, seal_resources
from bench.resources.section import NONE_COUNTED, resources_section
from bench.resources.spark_events import TaskTotals, task_totals
from bench.results import compute_result
from signals.counters import (
    COUNTERS,
    CPU_SECONDS,
    KAFKA_PRODUCED,
    PEAK_MEMORY,
    S3_GET,
    Counters,
    CountsFile,
    read_counts,
    rpc_calls,
)
from signals.process import ProcessGroup
from tests.unit.synthetic_run import complete_run
from tests.unit.test_process import wait_until

PYTHON = [sys.executable, "-S", "-E", "-c"]
BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
RAW = Path("ledger") / "raw"


def test_each_count_is_given_once() -> None:
    counters = Counters()
    counters.add(S3_GET)
    counters.add(S3_GET, 2)
    counters.add_of("worker-0", 7, CPU_SECONDS, 1.5)
    taken = {(key.resource, key.pid): value for key, value in counters.take().items()}
    assert taken == {(S3_GET, 0): 3, (CPU_SECONDS, 7): 1.5}
    assert counters.take() == {}


@pytest.mark.parametrize("read_bytes", [7, 2**16])
def test_counts_survive_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: int) -> None:
    monkeypatch.setattr("signals.counters.READ_BYTES", read_bytes)
    code = (
        "import os, signal, sys; from pathlib import Path; from signals.counters import *\n"
        "counts = CountsFile(Path(sys.argv[1]), process='kappa-1-w_0', arm='kappa', replicate=1)\n"
        "for _ in range(3): COUNTERS.add(S3_GET); counts.write()\n"
        "COUNTERS.add(S3_GET); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(b'{"arm":"kap')  # as a full disk may leave it
    kept = read_counts(path)
    assert kept is not None
    assert (kept["arm"], kept["replicate"]) == ("kappa", 1)
    assert [(count["name"], count["value"]) for count in kept["counts"]] == [("s3_get", 3)]


@pytest.mark.parametrize("room_bytes", [0, 10])
def test_counts_that_could_not_be_written_are_written_later(tmp_path: Path, room_bytes: int) -> None:
    counters = Counters()
    counts = CountsFile(tmp_path, process="p", arm="kappa", replicate=1, counters=counters)
    counters.add(S3_GET, 5)
    counts.write()
    (path,) = tmp_path.iterdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room_bytes, limits[1]))
    try:  # as on a full disk, which takes a part of a line, if any
        counters.add(S3_GET, 7)
        with nullcontext() if room_bytes else pytest.raises(OSError, match="large"):
            counts.write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    counts.write()
    kept = read_counts(path)
    assert kept is not None
    assert [count["value"] for count in kept["counts"]] == [12]


def of_process(name: str) -> dict[str, float]:
    return {key.resource.name: value for key, value in COUNTERS.take().items() if key.process == name}


def test_a_killed_child_is_accounted_for_by_the_kernel(tmp_path: Path) -> None:
    COUNTERS.take()
    with ProcessGroup(tmp_path) as group:
        child = group.start("burner", [*PYTHON, BURN + "print('done', flush=True); time.sleep(600)"])
        while "done" not in child.log.read_text():
            assert child.popen.poll() is None
        child.popen.kill()
        assert child.popen.wait() == -9
    taken = of_process("burner")
    assert taken[CPU_SECONDS.name] >= 0.29
    assert taken[PEAK_MEMORY.name] > 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands orphans to an ancestor")
def test_a_descendant_that_nobody_waited_for_is_accounted_for(tmp_path: Path) -> None:
    COUNTERS.take()
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-E', '-c', {BURN!r}])"
    with ProcessGroup(tmp_path) as group:
        child = group.start("parent", [*PYTHON, code])
        child.expected = True
        child.popen.wait()
        wait_until(lambda: any(c.status() == psutil.STATUS_ZOMBIE for c in psutil.Process().children()))
    taken = {key.process: v for key, v in COUNTERS.take().items() if key.resource == CPU_SECONDS}
    orphan = next(value for name, value in taken.items() if name.startswith("parent."))
    assert orphan > 0.05


def write_counts(
    run_dir: Path, process: str, counts: dict[tuple[str, str, int, str], float], pid: int, arm: str = "lambda"
) -> None:
    """``counts``: (resource, process, pid, unit) -> value."""
    folder = run_dir / RAW
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"process": of, "pid": of_pid, "name": name, "unit": unit, "value": value}
        for (name, of, of_pid, unit), value in counts.items()
    ]
    content = {"arm": arm, "replicate": 1, "process": f"{arm}-1-{process}", "pid": pid, "counts": rows}
    (folder / f"{process}-{pid}-0.counts.jsonl").write_bytes(orjson.dumps(content))


def counted_run(tmp_path: Path) -> Path:
    return count(complete_run(tmp_path / "run").write())


def count(run_dir: Path) -> Path:
    """Gives the Lambda arm of a run what its processes counted."""
    driver = {
        ("cpu", "", 0, "seconds"): 2.0,
        ("cpu", "nightly-0", 20, "seconds"): 30.0,  # with the pool worker, which the night waited for
        ("cpu", "nightly-0.java", 21, "seconds"): 40.0,
        ("cpu", "online_worker-0", 22, "seconds"): 5.0,
        ("peak_memory", "online_worker-0", 22, "bytes"): 100.0,
        ("peak_memory", "online_worker-1", 23, "bytes"): 300.0,
        ("parquet_stored", "stored", 0, "bytes"): 7800.0,
    }
    write_counts(run_dir, "harness", driver, 10)
    write_counts(run_dir, "lambda_arm", {("queue_enqueued", "", 0, "jobs"): 41.0}, 10)
    write_counts(run_dir, "nightly_workflow", {("cpu", "gpu_worker-0", 30, "seconds"): 24.0}, 20)
    write_counts(run_dir, "gpu_worker_0", {("s3_get", "", 0, "requests"): 40.0}, 30)
    write_counts(run_dir, "online_worker_0", {("s3_get", "", 0, "requests"): 41.0}, 22)
    seal_resources(run_dir)
    return run_dir


def test_cpu_of_a_child_is_counted_once(tmp_path: Path) -> None:
    with open_ledger(counted_run(tmp_path)) as query:
        rows = [row for row in query.rows("resources") if row["replicate"] is None]
    cpu = {row["process"]: (row["stage"], row["value"]) for row in rows if row["resource"] == "cpu"}
    assert cpu == {
        "driver": ("harness", 2.0),
        "nightly": ("nightly", 6.0),
        "nightly.java": ("nightly", 40.0),
        "gpu_worker": ("nightly", 24.0),
        "online_worker": ("online", 5.0),
    }
    gets = {row["process"]: row["value"] for row in rows if row["resource"] == "s3_get"}
    assert gets == {"gpu_worker": 40.0, "online_worker": 41.0}
    jobs = [row for row in rows if row["resource"] == "queue_enqueued"]
    assert [(row["process"], row["value_per_image"]) for row in jobs] == [("driver", 41 / 40)]
    peaks = [row["value"] for row in rows if row["resource"] == "peak_memory"]
    assert peaks == [300.0]


def test_servers_of_a_scaled_out_layout_are_booked_once_and_where_they_serve(tmp_path: Path) -> None:
    run_dir = complete_run(tmp_path / "run").write()  # of the arms, Lambda alone holds an online pool
    servers = {
        ("cpu", "inference-0", 40, "seconds"): 3.0,
        ("cpu", "inference-1", 41, "seconds"): 4.0,
        ("cpu", "spark_master", 42, "seconds"): 1.0,
        ("cpu", "spark_worker-1", 43, "seconds"): 5.0,
        ("cpu", "spark_worker-2", 44, "seconds"): 6.0,
    }
    for pid, arm in enumerate(("lambda", "kappa"), 10):
        write_counts(run_dir, "harness", servers, pid, arm)
    write_counts(run_dir, "nightly_spark_worker", {("s3_get", "", 0, "requests"): 5.0}, 50)
    seal_resources(run_dir)
    with open_ledger(run_dir) as query:
        rows = [row for row in query.rows("resources") if row["replicate"] is None]
    found = {
        (row["arm"], row["process"]): (row["stage"], row["value"], row["holds_device"])
        for row in rows
        if row["resource"] == "cpu"
    }
    spark = {"spark_master": ("spark", 1.0, False), "spark_worker": ("spark", 11.0, False)}
    inference = {"lambda": ("online", 7.0, True), "kappa": ("other", 7.0, False)}
    assert found == {
        (arm, process): row
        for arm, served in inference.items()
        for process, row in {**spark, "inference": served}.items()
    }
    assert [(row["stage"], row["value"]) for row in rows if row["resource"] == "s3_get"] == [("nightly", 5.0)]


def test_figures_per_image(tmp_path: Path) -> None:
    section = compute_result(counted_run(tmp_path))["arms"]["lambda"]["resources"]
    assert section["cpu_seconds_per_image"] == pytest.approx(75 / 40)
    assert section["s3_requests_per_image"] == pytest.approx(81 / 40)
    assert section["bytes_stored_per_signal"] == pytest.approx(7800 / 78)
    assert section["kafka_messages_per_image"] is None
    assert section["reasons"]["kafka_messages_per_image"] == NONE_COUNTED


def test_a_run_without_counts_has_reasons_and_no_zeros(tmp_path: Path) -> None:
    run_dir = complete_run(tmp_path / "run").write()
    resources_path(run_dir).unlink()
    section = compute_result(run_dir)["arms"]["kappa"]["resources"]
    assert section["rows"] == []
    assert section["cpu_seconds_per_image"] is None
    assert set(section["reasons"]) == {name for name in section if section[name] is None}
    assert resources_section([], signals=0)["bytes_stored_per_signal"] is None


def test_staging_belongs_to_no_arm(tmp_path: Path) -> None:
    run_dir = complete_run(tmp_path / "run").write()
    COUNTERS.take()
    COUNTERS.add(KAFKA_PRODUCED)
    CountsFile(run_dir / RAW, process="staging", arm="", replicate=-1).write()
    seal_resources(run_dir)
    assert pq.read_table(resources_path(run_dir)).column("arm").to_pylist() == [""]
    with open_ledger(run_dir) as query:
        assert query.rows("resources") == []


def test_spark_tasks_are_read_as_far_as_the_log_goes(tmp_path: Path) -> None:
    task = {
        "Event": "SparkListenerTaskEnd",
        "Task Metrics": {"Executor Run Time": 1500, "Executor CPU Time": 4 * 10**8},
    }
    other = {"Event": "SparkListenerStageCompleted"}
    lines = [orjson.dumps(line) for line in (task, other, task)]
    (tmp_path / "local-1").write_bytes(b"\n".join([*lines, lines[0][:30]]))
    assert task_totals(tmp_path) == TaskTotals(2, 3.0, 0.8)
    assert task_totals(tmp_path / "none") == TaskTotals()


def test_rpc_resources_carry_the_service() -> None:
    assert rpc_calls("Gss").name == "rpc_gss"
