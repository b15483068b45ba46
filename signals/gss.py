"""GSS, the Galaxy Signal Service: the RPC that signals are looked up and written through.

``python -m signals.gss --data DIR --ready-file FILE --token-file FILE`` owns the Rockstore in DIR and says
in FILE (JSON: host, port, pid) where it listens. Started again with the same ready file, it takes the same
port, so that its clients find it again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
import orjson
import thriftpy2

from signals.encodings import IDL_DIR
from signals.errors import ConfigurationError, LkbenchError
from signals.process import StopSignal, write_ready_file
from signals.rockstore import Rockstore
from signals.rpc import RpcClient, RpcServer

KEYS_PER_CALL = 1_000
BYTES_PER_CALL = 16 * 2**20  # of values; far below RpcLimits.max_frame_bytes
RETRY_SECONDS = 10.0

_idl = thriftpy2.load(str(IDL_DIR / "gss.thrift"), module_name="gss_thrift")


class GssClient:
    """Looks signals up and writes them. Thread-safe. Raises ServiceError when GSS can't be reached.

    A call outlives a restart of GSS that takes less than ``retry_seconds``.
    """

    MAINTENANCE_TIMEOUT_SECONDS = 600.0  # of calls whose work grows with the store

    def __init__(self, host: str, port: int, token: str, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._rpc = RpcClient(_idl.Gss, host, port, token, retry_seconds=retry_seconds)
        self._maintenance = RpcClient(
            *(_idl.Gss, host, port, token),
            timeout_seconds=self.MAINTENANCE_TIMEOUT_SECONDS,
            retry_seconds=retry_seconds,
        )

    def get(self, key: bytes) -> bytes | None:
        """The value of one key, None if it has none."""
        return self._first_values([key])[0]

    def multi_get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value, or None, of each key, in the order of ``keys``; any number of keys."""
        values: list[bytes | None] = []
        while len(values) < len(keys):
            values += self._first_values(list(keys[len(values) : len(values) + KEYS_PER_CALL]))
        return values

    def _first_values(self, keys: list[bytes]) -> list[bytes | None]:
        """The values of the first keys, at least one: as many as fit into an answer."""
        answer = self._rpc.call("multi_get", keys)
        values: list[bytes | None] = answer.values
        for position in answer.missing:
            values[position] = None
        return values

    def contains(self, keys: Sequence[bytes]) -> list[bool]:
        """Whether each key has a value, in the order of ``keys``."""
        present: list[bool] = []
        for start in range(0, len(keys), KEYS_PER_CALL):
            present += self._rpc.call("contains", list(keys[start : start + KEYS_PER_CALL]))
        return present

    def put(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Write items. Up to 1,000 items of 16 MiB are written all or none; more are split in order."""
        for chunk in _chunks(items):
            self._rpc.call("put", [key for key, _ in chunk], [value for _, value in chunk])

    def ingest(self, paths: Sequence[Path]) -> None:
        """Add SST files that GSS's process can read, at once."""
        self._maintenance.call("ingest", [str(path.absolute()) for path in paths])

    def checkpoint(self, path: Path) -> None:
        """Write a consistent copy of the store to ``path``, on GSS's file system; it must not exist."""
        self._maintenance.call("checkpoint", str(path.absolute()))

    def count(self) -> int:
        """The exact number of keys; reads all of them."""
        return int(self._maintenance.call("count"))

    def close(self) -> None:
        """Close the connections."""
        self._rpc.close()
        self._maintenance.close()

    def __enter__(self) -> GssClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Handler:
    def __init__(self, store: Rockstore) -> None:
        self._store = store

    def multi_get(self, keys: list[bytes]) -> object:
        found = self._store.multi_get(keys)
        missing = [position for position, value in enumerate(found) if value is None]
        values = [value or b"" for value in found]
        fitting = _fitting(values)
        if fitting < len(values):
            values = values[:fitting]
            missing = [position for position in missing if position < fitting]
        return _idl.Values(values=values, missing=missing)

    def contains(self, keys: list[bytes]) -> list[bool]:
        return self._store.contains_many(keys)

    def put(self, keys: list[bytes], values: list[bytes]) -> None:
        if len(keys) != len(values):
            raise ConfigurationError(f"{len(keys)} keys, but {len(values)} values")
        self._store.put_many(zip(keys, values, strict=True))

    def ingest(self, paths: list[str]) -> None:
        self._store.ingest([Path(path) for path in paths])

    def checkpoint(self, path: str) -> None:
        self._store.checkpoint(Path(path))

    def count(self) -> int:
        return self._store.count()


def serve(data: Path, ready_file: Path, token: str, host: str, stop: threading.Event) -> None:
    """Serve until ``stop`` is set, then let running calls answer and close the store."""
    port = 0
    with contextlib.suppress(OSError, orjson.JSONDecodeError, KeyError):
        port = int(orjson.loads(ready_file.read_bytes())["port"])
    with (
        Rockstore(data) as store,
        RpcServer(_idl.Gss, _Handler(store), token, host=host, port=port) as server,
    ):
        write_ready_file(ready_file, {"host": server.host, "port": server.port, "pid": os.getpid()})
        stop.wait()


def _fitting(values: list[bytes]) -> int:
    """How many of the first values fit into one answer; at least 1."""
    size_bytes = 0
    for count, value in enumerate(values):
        size_bytes += len(value)
        if count and size_bytes > BYTES_PER_CALL:
            return count
    return len(values)


def _chunks(items: Iterable[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    chunk: list[tuple[bytes, bytes]] = []
    size_bytes = 0
    for item in items:
        item_bytes = len(item[0]) + len(item[1])
        if chunk and (len(chunk) == KEYS_PER_CALL or size_bytes + item_bytes > BYTES_PER_CALL):
            yield chunk
            chunk, size_bytes = [], 0
        chunk.append(item)
        size_bytes += item_bytes
    if chunk:
        yield chunk


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of the store.")
@click.option("--ready-file", type=click.Path(path_type=Path), required=True)
@click.option("--token-file", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--host", default="127.0.0.1", show_default=True)
def main(data: Path, ready_file: Path, token_file: Path, host: str) -> None:
    """Serve the Galaxy Signal Service until SIGTERM."""
    stop = StopSignal()
    try:
        serve(data, ready_file, token_file.read_text("utf-8").strip(), host, stop)
    except LkbenchError as error:
        click.echo(f"gss: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
