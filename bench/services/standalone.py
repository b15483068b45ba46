"""Keeps the servers up on their own and writes them down as a configuration file."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json import dumps  # a string is written in JSON as in TOML
from pathlib import Path

from bench.config import HarnessConfig
from bench.services.gss import start_gss
from bench.services.inference import start_inference
from bench.services.stack import Endpoints, ServiceStack
from bench.setup import prepare_model, prepare_servers
from signals.process import ProcessGroup


@dataclass(frozen=True, slots=True)
class StandaloneServers:
    """Servers that are up. ``toml`` is the configuration file that names them; it holds secrets."""

    toml: str = field(repr=False)
    groups: tuple[ProcessGroup, ...] = field(repr=False)

    def check(self) -> None:
        """Raise ServiceError, naming the server and its log, if one that was started here has ended."""
        for group in self.groups:
            group.check()


@contextmanager
def standalone_stack(
    output: Path, config: HarnessConfig, progress: Callable[[str], None]
) -> Iterator[StandaloneServers]:
    """Start the servers in a folder below ``output``.

    Leaving the context stops the servers and removes their data. Raises ServiceError or
    MissingRequirement.
    """
    prepare_servers(config, progress)
    model_dir = prepare_model(config, progress)
    token = secrets.token_hex(3)
    folder = (output / f"services-{datetime.now(UTC):%Y%m%d-%H%M%S}-{token}").resolve()
    with (
        ProcessGroup(folder / "logs") as group,
        ServiceStack(folder, config, group, namespace=f"lk_{token}") as stack,
        ProcessGroup(folder / "logs") as rpc_group,  # stops before the stack removes all data
    ):
        endpoints = stack.start(progress)
        gss = endpoints.gss or start_gss(rpc_group, folder / "services" / "gss", secrets.token_hex(16))
        inference = endpoints.inference or start_inference(
            rpc_group, folder / "services" / "inference", model_dir, config.inference
        )
        endpoints = dataclasses.replace(endpoints, gss=gss, inference=inference)
        yield StandaloneServers(as_toml(endpoints), (group, rpc_group))


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
    lines += [f"region = {dumps(s3.region)}"]
    gss = (endpoints.gss,) if endpoints.gss is not None else ()
    for section, servers in (("gss", gss), ("inference", endpoints.inference)):
        if servers:
            addresses = ",".join(server.address for server in servers)
            lines += [f"[{section}]", f"endpoint = {dumps(addresses)}", f"token = {dumps(servers[0].token)}"]
    if endpoints.spark_master.startswith("spark://"):
        conf = ", ".join(f"{dumps(k)} = {dumps(v)}" for k, v in endpoints.spark_conf.items())
        lines += ["[spark]", f"master = {dumps(endpoints.spark_master)}", f"conf = {{ {conf} }}"]
    lines += ["[postgres]", f"dsn = {dumps(endpoints.postgres_dsn)}"]
    return "\n".join(lines)
