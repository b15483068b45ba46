"""Keeps the servers up on their own and writes them down as a configuration file."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json import dumps  # a string is written in JSON as in TOML
from pathlib import Path

from bench.config import HarnessConfig
from bench.services.stack import Endpoints, ServiceStack
from bench.setup import prepare_servers
from signals.process import ProcessGroup


@dataclass(frozen=True, slots=True)
class StandaloneServers:
    """Servers that are up. ``toml`` is the configuration file that names them; it holds secrets."""

    toml: str = field(repr=False)
    group: ProcessGroup = field(repr=False)

    def check(self) -> None:
        """Raise ServiceError, naming the server and its log, if one that was started here has ended."""
        self.group.check()


@contextmanager
def standalone_stack(
    output: Path, config: HarnessConfig, progress: Callable[[str], None]
) -> Iterator[StandaloneServers]:
    """Start the servers in a folder below ``output``.

    Leaving the context stops the servers and removes their data. Raises ServiceError or
    MissingRequirement.
    """
    prepare_servers(config, progress)
    token = secrets.token_hex(3)
    folder = (output / f"services-{datetime.now(UTC):%Y%m%d-%H%M%S}-{token}").resolve()
    with (
        ProcessGroup(folder / "logs") as group,
        ServiceStack(folder, config, group, namespace=f"lk_{token}") as stack,
    ):
        yield StandaloneServers(as_toml(stack.start(progress)), group)


def as_toml(endpoints: Endpoints) -> str:
    """The servers as a configuration file; PostgreSQL comes last."""
    s3 = endpoints.s3
    options = ", ".join(f"{dumps(k)} = {dumps(v)}" for k, v in endpoints.kafka_options.items())
    lines = ["[kafka]", f"bootstrap = {dumps(endpoints.kafka_bootstrap)}"]
    if options:
        lines.append(f"options = {{ {options} }}")
    lines += ["[s3]"]
    lines += [f"{key} = {dumps(getattr(s3, key))}" for key in ("endpoint", "access_key", "secret_key")]
    lines += [f"bucket = {dumps(s3.bucket)}", f"secure = {str(s3.secure).lower()}"]
    lines += [f"region = {dumps(s3.region)}", "[postgres]", f"dsn = {dumps(endpoints.postgres_dsn)}"]
    return "\n".join(lines)
