"""Kill -9 of every kind of worker with work in flight, on external servers: nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import duckdb
import orjson
import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from bench.config import HarnessConfig
from signals.architecture import S3Endpoint
from signals.object_store import ObjectStore
from tests.end_to_end.conftest import (
    LKBENCH,
    CommandLineRun,
    StartRun,
    lkbench,
    processes_mentioning,
    wait_until,
)

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(900)]


def kill_one(run: CommandLineRun, module: str) -> None:
    wait_until(lambda: run.processes(module), 120, run.popen)
    run.processes(module)[0].kill()


def kill_with_work_in_hand(run: CommandLineRun, module: str, gss: psutil.Process) -> None:
    """Kill a worker while it waits for an answer: GSS gives none for a while."""
    gss.suspend()
    try:
        time.sleep(1.5)  # at 20 arrivals a second
        kill_one(run, module)
    finally:
        gss.resume()


def server(folder: Path, module: str) -> psutil.Process:
    (process,) = [p for p in processes_mentioning(str(folder)) if module in p.cmdline()]
    return process


def left_on_the_servers(config: HarnessConfig, servers: Path) -> list[str]:
    """Names of all that runs made on external servers, but for the servers' own."""
    topics = AdminClient({"bootstrap.servers": config.kafka.bootstrap}).list_topics(timeout=10).topics
    names = [name for name in topics if not name.startswith("__")]
    with psycopg.connect(config.postgres.dsn) as connection:
        names += [row[0] for row in connection.execute("select queue_name from pgmq.list_queues()")]
        query = "select count(*) from pg_database where datname like '%metastore'"
        assert connection.execute(query).fetchone() == (1,)  # that of `lkbench services` itself
    s3 = config.s3
    with ObjectStore(S3Endpoint(s3.endpoint, s3.access_key, s3.secret_key, s3.bucket)) as store:
        names += list(store.list(""))
    return names + [path.name for path in servers.glob("*/services/gss/rockstore/*")]


def sql(run_dir: Path, query: str) -> list[tuple]:  # type: ignore[type-arg]
    with duckdb.connect() as connection:
        connection.execute(f"create view events as select * from '{run_dir}/ledger/events.parquet'")
        return connection.execute(query).fetchall()


def test_killed_workers_lose_nothing_on_external_servers(start_run: StartRun, tmp_path: Path) -> None:
    servers = subprocess.Popen(
        [*LKBENCH, "services", "--output", str(tmp_path / "servers")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert servers.stdout is not None
        lines = [servers.stdout.readline()]
        while "dsn" not in lines[-1]:
            assert servers.poll() is None, servers.communicate()
            lines.append(servers.stdout.readline())
        config = tmp_path / "external.toml"
        config.write_text("".join(lines))

        run = start_run("--config", str(config), "--day", "20s", "--rate", "20", "--seed", "3")
        wait_until(lambda: run.online_available("lambda") > 80, 180, run.popen)
        for own in ("kafka.Kafka", "signals.gss", "lambda_pipeline.online.inference_service"):
            assert not run.processes(own)  # its own servers were not started
        gss = server(tmp_path / "servers", "signals.gss")
        kill_with_work_in_hand(run, "lambda_pipeline.online.worker", gss)
        wait_until(lambda: run.online_available("lambda") > 200, 60, run.popen)
        server(tmp_path / "servers", "lambda_pipeline.online.inference_server").kill()  # and started again
        # The nightly pool is at work as soon as it has written a first output.
        kill_one(run, "lambda_pipeline.offline.gpu_worker")
        wait_until(lambda: run.online_available("kappa") > 80, 240, run.popen)
        kill_with_work_in_hand(run, "kappa_pipeline.app", gss)
        out, err = run.wait(300)
        assert run.popen.returncode in (0, 6), out + err

        verified = lkbench("verify", str(run.run_dir))
        assert verified.returncode == 0, verified.stdout
        restarted = sql(run.run_dir, "select arm, process from events where stage = 'process_restarted'")
        assert {arm for arm, _ in restarted} == {"lambda", "kappa"}
        result = orjson.loads((run.run_dir / "result.json").read_bytes())
        for arm in ("lambda", "kappa"):
            completeness = result["arms"][arm]["completeness"]
            assert completeness["lost"] == 0
            assert completeness["duplicated"] == 0
            assert result["arms"][arm]["retries"]["total"] > 0
        pools = {pool["pool"] for pool in result["arms"]["lambda"]["device_hours"]["pools"]}
        assert pools == {"online", "nightly"}  # what an external service did is booked, too
        assert left_on_the_servers(HarnessConfig.load(config), tmp_path / "servers") == []
        assert "left behind" not in err
    finally:
        servers.send_signal(signal.SIGINT)
        servers.communicate(timeout=60)
    assert servers.returncode == 130
    assert not processes_mentioning(str(tmp_path))
