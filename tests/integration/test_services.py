"""Every server: up, healthy, stopped; and when one dies, its port is taken, or its driver is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from bench.config import HarnessConfig
from bench.services import jars, startup
from bench.services.class_archive import with_class_archive
from bench.services.kafka import KafkaServer, check_kafka
from bench.services.metastore import create_metastore, database_dsn, drop_metastore, schema_file
from bench.services.postgres import PostgresServer, check_postgres, install_pgmq
from bench.services.private_dir import PrivateDir
from bench.services.s3proxy import S3ProxyServer, check_s3
from bench.services.stack import Endpoints, ServiceStack
from bench.services.standalone import as_toml
from bench.services.startup import wait_until_healthy
from signals.architecture import RunContext, S3Endpoint
from signals.errors import MissingRequirement, ServiceError
from signals.gss import GssClient
from signals.object_store import ObjectStore
from signals.process import ProcessGroup

pytestmark = pytest.mark.integration

STARTERS: dict[str, Callable[[ProcessGroup, Path], object]] = {
    "kafka": lambda group, folder: KafkaServer(group, folder).start(),
    "s3proxy": lambda group, folder: S3ProxyServer(group, folder).start("bucket"),
    "postgres": lambda group, folder: PostgresServer(group, folder).start(),
}


def metastore_databases(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select datname from pg_database where datname like '%metastore'")
        return {name for (name,) in rows}


def listening_addresses(pid: int) -> set[str]:
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    found = [c.laddr.ip for p in processes for c in p.net_connections("tcp") if c.status == "LISTEN"]
    return {ip.removeprefix("::ffff:") for ip in found}


def start_stack(group: ProcessGroup, run_dir: Path, config: HarnessConfig | None = None) -> Endpoints:
    return ServiceStack(run_dir, config or HarnessConfig(), group, namespace="lk_test").start()


def test_the_stack_comes_up_on_loopback_works_and_leaves_nothing(tmp_path: Path) -> None:
    notes: list[str] = []
    with ProcessGroup(tmp_path / "logs") as group:
        with ServiceStack(tmp_path, HarnessConfig(), group, namespace="lk_test") as stack:
            endpoints = stack.start(notes.append)
            check_kafka(endpoints.kafka_bootstrap, endpoints.kafka_options)
            store = ObjectStore(endpoints.s3)
            store.put("images/a", b"bytes")
            assert store.get("images/a", 10) == b"bytes"
            store.close()
            with psycopg.connect(endpoints.postgres_dsn) as connection:
                connection.execute("select pgmq.create('q')")
                connection.execute("select pgmq.send('q', '{}')")
            with psycopg.connect(endpoints.metastore_dsn) as connection:
                assert connection.execute('select * from "PARTITIONS"').fetchall() == []
            assert endpoints.jdbc_jar.is_file()
            pids = [child.pid for child in group.children]
            assert {ip for pid in pids for ip in listening_addresses(pid)} == {startup.LOOPBACK}
            secret_file = tmp_path / "services" / "s3proxy" / "s3proxy.properties"
            assert secret_file.stat().st_mode & 0o777 == 0o600
            command_lines = " ".join(" ".join(psutil.Process(pid).cmdline()) for pid in pids)
            assert endpoints.s3.secret_key not in command_lines
            group.check()
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert not (tmp_path / "services").exists()
        group.check()  # an end that was asked for is no failure
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {
        "kafka.log",
        "s3proxy.log",
        "postgres.log",
    }
    assert any("Kafka" in note for note in notes)


def test_external_servers_are_used_and_left_as_they_were(
    kafka: str, s3: S3Endpoint, postgres: str, tmp_path: Path
) -> None:
    servers = Endpoints("lk_test", kafka, {}, s3, postgres, "", tmp_path, "", {})
    config = tmp_path / "external.toml"
    config.write_text(as_toml(servers))
    before = metastore_databases(postgres)
    with ProcessGroup(tmp_path / "logs") as group:
        with ServiceStack(tmp_path, HarnessConfig.load(config), group, namespace="lk_outside") as stack:
            endpoints = stack.start()
            assert group.children == []
            assert endpoints.kafka_bootstrap == kafka
            assert endpoints.s3 == s3
            assert endpoints.postgres_dsn == postgres
            assert metastore_databases(postgres) - before == {"lk_outside_metastore"}
        assert metastore_databases(postgres) == before


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('[kafka]\nbootstrap = "127.0.0.1:1"\n', "kafka at 127.0.0.1:1"),
        (
            '[s3]\nendpoint = "127.0.0.1:1"\naccess_key = "a"\nsecret_key = "b"\nbucket = "ccc"\n',
            "object store 127.0.0.1:1",
        ),
        ('[postgres]\ndsn = "postgresql://u:p@127.0.0.1:1/d"\n', "postgres does not answer"),
    ],
)
def test_an_external_server_that_is_not_there_is_named(section: str, message: str, tmp_path: Path) -> None:
    config = tmp_path / "lkbench.toml"
    config.write_text(section)
    with ProcessGroup(tmp_path / "logs") as group, pytest.raises(ServiceError, match=message):
        start_stack(group, tmp_path, HarnessConfig.load(config))


@pytest.mark.parametrize("name", STARTERS)
def test_a_port_that_was_taken_in_between_is_left_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truly_free = startup.free_ports
    with socket.socket() as neighbour:
        neighbour.bind((startup.LOOPBACK, 0))
        neighbour.listen()
        taken = neighbour.getsockname()[1]
        answers = [lambda count: [taken, *truly_free(count)][:count]]
        monkeypatch.setattr(
            startup, "free_ports", lambda count: answers.pop()(count) if answers else truly_free(count)
        )
        with ProcessGroup(tmp_path / "logs") as group:
            address = str(STARTERS[name](group, tmp_path / name))
            assert not answers
            assert f":{taken}" not in address
            group.check()


@pytest.mark.parametrize("name", STARTERS)
def test_a_server_that_dies_is_reported_with_its_log(name: str, tmp_path: Path) -> None:
    with ProcessGroup(tmp_path / "logs") as group:
        STARTERS[name](group, tmp_path / name)
        group.check()
        group.children[-1].popen.kill()
        group.children[-1].popen.wait()
        with pytest.raises(ServiceError, match=rf"{name} ended(.|\n)*{name}\.log"):
            group.check()


def test_a_server_that_does_not_come_up_is_reported_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "server.properties").mkdir()
    with ProcessGroup(tmp_path / "logs") as group:
        child = group.start("kafka", [sys.executable, "-c", "raise SystemExit('no such log directory')"])
        with pytest.raises(ServiceError, match=r"kafka ended with code 1(.|\n)*kafka\.log(.|\n)*no such log"):
            wait_until_healthy(child, lambda: check_kafka("127.0.0.1:1", {}), 30)


def test_nothing_is_left_when_the_driver_is_killed(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from bench.config import HarnessConfig
        from bench.services.gss import start_gss
        from bench.services.stack import ServiceStack
        from signals.process import ProcessGroup
        folder = Path({str(tmp_path)!r})
        group = ProcessGroup(folder / "logs")
        ServiceStack(folder, HarnessConfig(), group, namespace="lk_test").start()
        start_gss(group, folder / "arm", "token")
        print("up", flush=True)
        time.sleep(600)
    """)
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    with driver.stdout:
        assert driver.stdout.readline() == "up\n"
        children = psutil.Process(driver.pid).children(recursive=True)
        assert len(children) >= 4
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_what_a_killed_owner_left_behind_is_removed_by_the_next_one() -> None:
    code = (
        "import os; from bench.services.private_dir import PrivateDir\n"
        "print(PrivateDir(os.getuid()).path, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    abandoned = Path(done.stdout.strip())
    assert abandoned.is_dir()
    mine, other = PrivateDir(os.getuid()), PrivateDir(os.getuid())
    assert not abandoned.exists()
    assert mine.path.exists()
    for folder in (mine, other):
        folder.remove()
        assert not folder.path.exists()


def test_a_root_who_can_become_nobody_else_is_told_what_to_do(tmp_path: Path) -> None:
    only_root = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*only_root, "true"], capture_output=True).returncode != 0:
        pytest.skip("this system makes no user namespace")
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from bench.services.postgres import PostgresServer
        from signals.process import ProcessGroup
        with ProcessGroup(Path({str(tmp_path)!r})) as group:
            PostgresServer(group, Path({str(tmp_path)!r}))
        """
    )
    done = subprocess.run([*only_root, sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode != 0
    assert "MissingRequirement" in done.stderr
    assert "run as a user who is not root" in done.stderr


def test_pgmq_is_installed_once_also_by_several_at_a_time(postgres: str) -> None:
    dsn = create_metastore(postgres, "pgmq_twice")  # any fresh database
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", f"from bench.services.postgres import *; install_pgmq({dsn!r})"]
        )
        for _ in range(2)
    ]
    assert [program.wait(60) for program in programs] == [0, 0]
    install_pgmq(dsn)
    drop_metastore(postgres, "pgmq_twice")
    with pytest.raises(ServiceError, match="postgres does not answer"):
        check_postgres(database_dsn(postgres, "pgmq_twice"))


def test_a_wrong_password_and_a_wrong_key_are_refused(postgres: str, s3: S3Endpoint) -> None:
    host = postgres.rpartition("@")[2]
    with pytest.raises(ServiceError, match="refuses the user, the password") as refused:
        check_postgres(f"postgresql://postgres:guess@{host}")
    assert "guess" not in str(refused.value)
    with pytest.raises(ServiceError):
        check_s3(S3Endpoint(s3.endpoint, s3.access_key, "guess", "other-bucket"))


@pytest.mark.timeout(300)  # a Spark session, on a machine that may be busy
def test_spark_finds_every_table_of_the_metastore_made_and_its_classes_in_the_archive(
    context: Callable[..., RunContext], postgres: str, tmp_path: Path
) -> None:
    def tables() -> set[str]:
        with psycopg.connect(dsn) as connection:
            rows = connection.execute(
                "select tablename from pg_tables where schemaname = 'public'"
            ).fetchall()
        return {name for (name,) in rows}

    assert schema_file().exists()
    dsn = create_metastore(postgres, "untouched_metastore")
    before = tables()
    assert {"DBS", "TBLS", "SDS", "PARTITIONS", "PARTITION_KEY_VALS"} <= before
    loaded = tmp_path / "loaded.log"
    conf = with_class_archive({"spark.driver.extraJavaOptions": f"-Xlog:class+load:file={loaded}"})
    made = context(metastore_dsn=dsn, spark_conf=conf)
    path = made.save(made.arm_dir / "context.json")
    program = [sys.executable, "-m", "bench.services.spark_rehearsal", str(path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert tables() == before
    classes = loaded.read_text()
    assert classes.count("source: shared objects file (top)") > 10 * classes.count("source: file:") > 0
    drop_metastore(postgres, "untouched_metastore")


def test_gss_serves_each_context_from_its_own_store(context: Callable[..., RunContext]) -> None:
    for made in (context("lambda"), context("kappa", day_seconds=5.0)):
        client = GssClient.of_run(made)
        assert client.get(b"key") is None
        client.put([(b"key", made.arm.encode())])
        assert client.get(b"key") == made.arm.encode()
        client.close()
        assert (made.arm_dir / "gss.token").stat().st_mode & 0o777 == 0o600


def test_without_java_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    code = (
        "from bench.services.java import find_java\nfrom signals.errors import MissingRequirement\n"
        "try:\n    find_java()\nexcept MissingRequirement as error:\n    print(error)"
    )
    for changes in ({"PATH": str(tmp_path)}, {"JAVA_HOME": str(tmp_path)}):
        environment = {k: v for k, v in os.environ.items() if k != "JAVA_HOME"} | changes
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert "apt-get install openjdk-17-jre-headless" in done.stdout
        assert len(done.stdout.splitlines()) == 1


def test_a_damaged_jar_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = jars.jar_folder(jars.JDBC)
    monkeypatch.setenv("LKBENCH_CACHE", str(tmp_path))
    target = jars.jar_folder(jars.JDBC)
    target.mkdir(parents=True)
    assert not jars.is_cached(jars.JDBC)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    assert jars.is_cached(jars.JDBC)
    started = time.monotonic()
    jars.fetch_jars([jars.JDBC])
    assert time.monotonic() - started < 5  # nothing was fetched
    (target / jars.jar(jars.JDBC, "postgresql").name).write_bytes(b"other")
    assert not jars.is_cached(jars.JDBC)
    with pytest.raises(MissingRequirement, match="no-such"):
        jars.jar(jars.JDBC, "no-such")
