"""Spark standalone as child processes on loopback: a master, and workers of one core each."""

from __future__ import annotations

import json
import secrets
import urllib.request
from pathlib import Path

from bench.services.jars import spark_home
from bench.services.startup import LOOPBACK, start_on_free_ports
from signals.errors import ServiceError
from signals.process import Child, ProcessGroup
from signals.whole_file import replace_secret

START_TIMEOUT_SECONDS = 60.0
PROBE_TIMEOUT_SECONDS = 2.0
WORKER_MEMORY = "1g"
_MASTER = "org.apache.spark.deploy.master.Master"
_WORKER = "org.apache.spark.deploy.worker.Worker"


class SparkServer:
    """A cluster with its scratch files in ``folder``. Whoever does not know its secret can submit nothing."""

    def __init__(self, group: ProcessGroup, folder: Path, workers: int) -> None:
        self._group, self._folder, self._workers = group, folder, workers
        self._secret = secrets.token_hex(20)
        self._children: list[Child] = []

    def start(self) -> tuple[str, dict[str, str]]:
        """Start and check. Returns the master's URL and an application's settings, which hold the secret.

        Raises ServiceError, MissingRequirement.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        shared = {"spark.authenticate": "true", "spark.authenticate.secret": self._secret}
        lines = [f"{key} {value}\n" for key, value in {**shared, "spark.ui.killEnabled": "false"}.items()]
        self._properties = replace_secret(self._folder / "spark.properties", "".join(lines))
        _, (port, _) = start_on_free_ports(
            self._group, 2, self._launch, lambda ports: self._check(ports[1]), START_TIMEOUT_SECONDS
        )
        return f"spark://{LOOPBACK}:{port}", {**shared, "spark.executor.memory": WORKER_MEMORY}

    def stop(self) -> None:
        """Stop workers and master."""
        for child in reversed(self._children):
            self._group.stop_child(child, timeout_seconds=5.0)

    def _launch(self, ports: list[int]) -> Child:
        """Start all of them, and return the master."""
        self.stop()  # what an attempt on other ports has started
        port, page_port = map(str, ports)
        master = self._start("spark_master", _MASTER, "--port", port, "--webui-port", page_port)
        self._children = [master]
        for number in range(1, self._workers + 1):
            options = ["--cores", "1", "--memory", WORKER_MEMORY, "--webui-port", "0"]
            options += ["--work-dir", str(self._folder / f"worker-{number}")]
            url = f"spark://{LOOPBACK}:{port}"
            self._children.append(self._start(f"spark_worker-{number}", _WORKER, *options, url))
        return master

    def _start(self, name: str, program: str, *options: str) -> Child:
        home = spark_home()
        java_options = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"  # as of the other servers
        env = {
            "SPARK_HOME": str(home),
            "SPARK_LOCAL_IP": LOOPBACK,  # pages, too
            "SPARK_DAEMON_MEMORY": "512m",
            "SPARK_DAEMON_JAVA_OPTS": java_options,
            "SPARK_LOCAL_DIRS": str(self._folder),
        }
        argv = [str(home / "bin" / "spark-class"), program, "--host", LOOPBACK]
        argv += ["--properties-file", str(self._properties), *options]
        return self._group.start(name, argv, env=env)

    def _check(self, page_port: int) -> None:
        address = f"http://{LOOPBACK}:{page_port}/json/"
        with urllib.request.urlopen(address, timeout=PROBE_TIMEOUT_SECONDS) as answer:
            alive = json.load(answer)["aliveworkers"]
        if alive < self._workers:
            raise ServiceError(f"{alive} of {self._workers} Spark workers have come")
