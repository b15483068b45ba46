"""Servers of our own RPC: the address of one that was started, and the check of one that was not."""

from __future__ import annotations

from pathlib import Path

from bench.config import GssConfig, InferenceConfig
from signals.architecture import RpcEndpoint
from signals.errors import ServiceError
from signals.process import Child, ProcessGroup
from signals.rpc import check_endpoint

START_TIMEOUT_SECONDS = 60.0


def started_endpoint(group: ProcessGroup, child: Child, ready_file: Path, token: str) -> RpcEndpoint:
    """Wait until ``child`` says in ``ready_file`` where it serves. Raises ServiceError, naming its log."""
    address = group.wait_for_file(child, ready_file, START_TIMEOUT_SECONDS)
    host, port = address.get("host"), address.get("port")
    if not isinstance(host, str) or not isinstance(port, int):
        raise ServiceError(f"{child.name} wrote no address into {ready_file}; its log is {child.log}")
    return RpcEndpoint(host, port, token)


def external_endpoints(name: str, config: GssConfig | InferenceConfig) -> tuple[RpcEndpoint, ...]:
    """The servers that the configuration names, none if it names none. Raises ServiceError, with ``name``,
    if nothing answers there that knows the token."""
    found: list[RpcEndpoint] = []
    for address in config.endpoint.split(",") if config.endpoint else ():
        host, _, port = address.rpartition(":")
        found.append(RpcEndpoint(host, int(port), config.token))
        try:
            check_endpoint(found[-1])
        except ServiceError as error:
            raise ServiceError(f"{name} at {address}: {error}") from error
    return tuple(found)
