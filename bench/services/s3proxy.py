"""S3Proxy as a child process: an S3 endpoint on loopback over a folder."""

from __future__ import annotations

import secrets
from pathlib import Path

from bench.services.jars import S3PROXY, jar_folder
from bench.services.java import SERVER_FLAGS, class_path, find_java
from bench.services.startup import LOOPBACK, start_on_free_ports
from signals.architecture import S3Endpoint
from signals.object_store import ObjectStore
from signals.process import Child, ProcessGroup
from signals.whole_file import replace_secret

START_TIMEOUT_SECONDS = 60.0
CHECK_TIMEOUT_SECONDS = 5.0  # something else may listen on the port, and never answer
_LOGBACK = Path(__file__).parent / "s3proxy-logback.xml"
# AWS SDKs send headers that S3Proxy does not know; by default it would answer 501.
_PROPERTIES = """\
s3proxy.endpoint=http://{host}:{port}
s3proxy.authorization=aws-v4
s3proxy.identity={access_key}
s3proxy.credential={secret_key}
s3proxy.ignore-unknown-headers=true
jclouds.provider=filesystem-nio2
jclouds.identity=local
jclouds.credential=local
jclouds.filesystem.basedir={data}
"""


class S3ProxyServer:
    """One S3 endpoint with its objects below ``folder`` and keys of its own."""

    def __init__(self, group: ProcessGroup, folder: Path) -> None:
        self._group, self._folder = group, folder
        self._access_key, self._secret_key = secrets.token_hex(10), secrets.token_hex(20)
        self._child: Child | None = None

    def start(self, bucket: str) -> S3Endpoint:
        """Start, check, create ``bucket``. Raises ServiceError, MissingRequirement."""
        (self._folder / "objects").mkdir(parents=True, exist_ok=True)
        self._child, (port,) = start_on_free_ports(
            self._group,
            1,
            self._launch,
            lambda ports: check_s3(self._at(ports[0], bucket)),
            START_TIMEOUT_SECONDS,
        )
        return self._at(port, bucket)

    def stop(self) -> None:
        """Stop the server."""
        if self._child is not None:
            self._group.stop_child(self._child, timeout_seconds=5.0)

    def _at(self, port: int, bucket: str) -> S3Endpoint:
        return S3Endpoint(f"{LOOPBACK}:{port}", self._access_key, self._secret_key, bucket)

    def _launch(self, ports: list[int]) -> Child:
        text = _PROPERTIES.format(
            host=LOOPBACK,
            port=ports[0],
            access_key=self._access_key,
            secret_key=self._secret_key,
            data=self._folder / "objects",
        )
        properties = replace_secret(self._folder / "s3proxy.properties", text)
        argv = [find_java().path, *SERVER_FLAGS, f"-Dlogback.configurationFile={_LOGBACK}"]
        argv += [f"-Dlkbench.requests={request_log(self._folder)}"]
        argv += ["-cp", class_path(f"{jar_folder(S3PROXY)}/*")]
        argv += ["org.gaul.s3proxy.Main", "--properties", str(properties)]
        return self._group.start("s3proxy", argv)


def request_log(folder: Path) -> Path:
    """Where the server with its data in ``folder`` writes a line per request."""
    return folder / "requests.log"


def check_s3(endpoint: S3Endpoint) -> None:
    """Create the bucket unless it exists. Raises ServiceError if the endpoint does not answer or refuses, and
    ConfigurationError."""
    with ObjectStore(endpoint, retries=0, read_timeout_seconds=CHECK_TIMEOUT_SECONDS) as store:
        store.ensure_bucket()
