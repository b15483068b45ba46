"""One machine in the layout of a cluster: several brokers, Spark workers, inference services."""

from __future__ import annotations

import contextlib
from pathlib import Path

import duckdb
import orjson
import psutil
import pytest

from tests.end_to_end.conftest import CommandLineRun, StartRun, lkbench, wait_until

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]
LAYOUT = """
[services]
kafka_brokers = 3
spark_workers = 2
stream_workers = 2
inference_services = 2

[inference]
workers = 2
"""


def descendants(run: CommandLineRun, word: str = "") -> list[psutil.Process]:
    """Processes that the run has started, of which Spark's executors name no folder of it."""
    found = []
    for process in psutil.Process(run.popen.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if word in " ".join(process.cmdline()):
                found.append(process)
    return found


def listening_addresses(processes: list[psutil.Process]) -> set[str]:
    found: set[str] = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found |= {c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    return {ip.removeprefix("::ffff:") for ip in found}


def test_both_arms_run_on_several_of_everything(start_run: StartRun, tmp_path: Path) -> None:
    config = tmp_path / "scale-out.toml"
    config.write_text(LAYOUT)
    run = start_run("--config", str(config), "--day", "10s", "--rate", "10", "--seed", "5")
    several = {
        "kafka.Kafka": 3,
        "org.apache.spark.deploy.worker.Worker": 2,
        "lambda_pipeline.online.inference_server": 2,
        "lambda_pipeline.online.worker": 2,
    }
    wait_until(lambda: {name: len(run.processes(name)) for name in several} == several, 180, run.popen)
    wait_until(lambda: len(descendants(run, "CoarseGrainedExecutorBackend")) == 2, 240, run.popen)
    assert listening_addresses(descendants(run)) == {"127.0.0.1"}
    wait_until(lambda: len(run.processes("kappa_pipeline.app")) == 2, 240, run.popen)
    out, err = run.wait(300)
    assert run.popen.returncode in (0, 6), out + err

    result = orjson.loads((run.run_dir / "result.json").read_bytes())
    broken = {rule["id"] for rule in result["validity"]["rules"] if not rule["ok"]}
    assert broken <= {"machine_quiet"}
    verified = lkbench("verify", str(run.run_dir))
    assert verified.returncode == 0, verified.stdout
    with duckdb.connect() as connection:
        used = connection.execute(
            "select distinct device from read_parquet(?) where path = 'online' and stage = 'device_busy'",
            [str(run.run_dir / "ledger" / "events.parquet")],
        ).fetchall()
    assert sorted(used) == [("cpu:0",), ("cpu:1",)]  # one of each service


def test_what_the_layout_costs_is_told_apart_from_one_of_everything(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    options = ["--arms", "kappa", "--model", "near-free", "--rounds", "1", "--count", "64", "--warm-up", "32"]
    done = lkbench("scale-out", *options, "--json", str(found), timeout_seconds=300)
    assert done.returncode == 0, done.stderr
    content = orjson.loads(found.read_bytes())
    used = {drain["layout"]: drain["used"]["cpu_seconds_by_process"] for drain in content["drains"]}
    assert set(used) == {"single", "scaled out"}
    assert "spark_master" in used["scaled out"] and "spark_master" not in used["single"]
    idle = content["idle_core_ms_per_second"]["kappa"]
    assert idle["single"] < idle["scaled out"]
    [target] = [target for target in content["targets"] if target["name"].startswith("kappa_stream")]
    assert target["measured"] == pytest.approx(
        sum(used["single"].values()) / sum(used["scaled out"].values()), rel=1e-6
    )
