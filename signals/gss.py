"""GSS, the Galaxy Signal Service: the RPC that signals are looked up and written through.

``python -m signals.gss --data DIR --ready-file FILE --token-file FILE`` owns the Rockstores in DIR and says
in FILE (JSON: host, port, pid) where it listens. Started again with the same ready file, it takes the same
port, so that its clients find it again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import click
import thriftpy2

from signals.architecture import RpcEndpoint, RunContext
from signals.declaration import NAME_PATTERN
from signals.encodings import IDL_DIR
from signals.errors import ConfigurationError
from signals.process import StopSignal, previous_port, write_ready_file
from signals.program import exits_as
from signals.rockstore import Rockstore
from signals.rpc import RpcClient, RpcServer

KEYS_PER_CALL = 1_000
BYTES_PER_CALL = 16 * 2**20  # of values; far below RpcLimits.max_frame_bytes
TIMEOUT_SECONDS = 30.0
RETRY_SECONDS = 10.0

_idl = thriftpy2.load(str(IDL_DIR / "gss.thrift"), module_name="gss_thrift")


class GssClient:
    """Looks signals up in one store and writes them. Thread-safe. Raises ServiceError without an answer.

    A call outlives a restart of GSS that takes less than ``retry_seconds``; ``timeout_seconds`` bounds each
    wait for its answer.
    """

    MAINTENANCE_TIMEOUT_SECONDS = 600.0  # of calls whose work grows with the store

    def __init__(
        self,
        endpoint: RpcEndpoint,
        store: str,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        server = (endpoint.host, endpoint.port, endpoint.token)
        self._store = store
        self._rpc = RpcClient(_idl.Gss, *server, timeout_seconds=timeout_seconds, retry_seconds=retry_seconds)
        self._maintenance = RpcClient(
            _idl.Gss,
            *server,
            timeout_seconds=self.MAINTENANCE_TIMEOUT_SECONDS,
            retry_seconds=retry_seconds,
        )

    @classmethod
    def of_run(
        cls,
        context: RunContext,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> GssClient:
        """A client of the store of one replicate of a run."""
        return cls(
            context.gss, context.namespace, timeout_seconds=timeout_seconds, retry_seconds=retry_seconds
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
        answer = self._rpc.call("multi_get", self._store, keys)
        values: list[bytes | None] = answer.values
        for position in answer.missing:
            values[position] = None
        return values

    def contains(self, keys: Sequence[bytes]) -> list[bool]:
        """Whether each key has a value, in the order of ``keys``."""
        present: list[bool] = []
        for start in range(0, len(keys), KEYS_PER_CALL):
            present += self._rpc.call("contains", self._store, list(keys[start : start + KEYS_PER_CALL]))
        return present

    def contains_each(self, groups: Sequence[Sequence[bytes]]) -> list[list[bool]]:
        """:meth:`contains` for several groups of keys at once; answers are grouped alike."""
        answers = iter(self.contains(list(itertools.chain.from_iterable(groups))))
        return [list(itertools.islice(answers, len(group))) for group in groups]

    def put(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Write items. Up to 1,000 items of 16 MiB are written all or none; more are split in order."""
        for chunk in _chunks(items):
            self._rpc.call("put", self._store, [key for key, _ in chunk], [value for _, value in chunk])

    def ingest(self, paths: Sequence[Path]) -> None:
        """Add SST files that GSS's process can read, at once."""
        self._maintenance.call("ingest", self._store, [str(path.absolute()) for path in paths])

    def checkpoint(self, path: Path) -> None:
        """Write a consistent copy of the store to ``path``, on GSS's file system; it must not exist."""
        self._maintenance.call("checkpoint", self._store, str(path.absolute()))

    def count(self) -> int:
        """The exact number of keys; reads all of them."""
        return int(self._maintenance.call("count", self._store))

    def drop(self) -> int:
        """Remove this store and all whose names start with its name. Returns how many there were."""
        return int(self._maintenance.call("drop", self._store))

    def close(self) -> None:
        """Close the connections."""
        self._rpc.close()
        self._maintenance.close()

    def __enter__(self) -> GssClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Stores:
    """Rockstores by name, each in a sub-folder of ``folder``, opened when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Rockstore] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> Rockstore:
        with self._lock:
            if name not in self._open:
                if not NAME_PATTERN.fullmatch(name):
                    raise ConfigurationError(f"{name!r} can't be the name of a store")
                self._open[name] = Rockstore(self._folder / name)
            return self._open[name]

    def drop(self, prefix: str) -> int:
        """Remove the stores whose names start with ``prefix``, which must be a name itself."""
        if not NAME_PATTERN.fullmatch(prefix):
            raise ConfigurationError(f"{prefix!r} can't be the beginning of a store's name")
        with self._lock:
            folders = list(self._folder.glob(f"{prefix}*"))
            for folder in folders:
                if (store := self._open.pop(folder.name, None)) is not None:
                    store.close()
                shutil.rmtree(folder)
        return len(folders)

    def close(self) -> None:
        """Flush and close all."""
        with self._lock:
            for store in self._open.values():
                store.close()
            self._open.clear()


class _Handler:
    def __init__(self, stores: _Stores) -> None:
        self._stores = stores

    def multi_get(self, store: str, keys: list[bytes]) -> object:
        found = self._stores[store].multi_get(keys)
        missing = [position for position, value in enumerate(found) if value is None]
        values = [value or b"" for value in found]
        fitting = _fitting(values)
        if fitting < len(values):
            values = values[:fitting]
            missing = [position for position in missing if position < fitting]
        return _idl.Values(values=values, missing=missing)

    def contains(self, store: str, keys: list[bytes]) -> list[bool]:
        return self._stores[store].contains_many(keys)

    def put(self, store: str, keys: list[bytes], values: list[bytes]) -> None:
        if len(keys) != len(values):
            raise ConfigurationError(f"{len(keys)} keys, but {len(values)} values")
        self._stores[store].put_many(zip(keys, values, strict=True))

    def ingest(self, store: str, paths: list[str]) -> None:
        self._stores[store].ingest([Path(path) for path in paths])

    def checkpoint(self, store: str, path: str) -> None:
        self._stores[store].checkpoint(Path(path))

    def count(self, store: str) -> int:
        return self._stores[store].count()

    def drop(self, prefix: str) -> int:
        return self._stores.drop(prefix)


def serve(data: Path, ready_file: Path, token: str, host: str, stop: threading.Event, port: int = 0) -> None:
    """Serve until ``stop`` is set, then let running calls answer and close the stores."""
    data.mkdir(parents=True, exist_ok=True)
    stores = _Stores(data)
    with (
        contextlib.closing(stores),
        RpcServer(
            *(_idl.Gss, _Handler(stores), token), host=host, port=port or previous_port(ready_file)
        ) as server,
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
@click.option("--port", default=0, show_default=True, help="0: a free one, the same after a restart.")
def main(data: Path, ready_file: Path, token_file: Path, host: str, port: int) -> None:
    """Serve the Galaxy Signal Service until SIGTERM."""
    stop = StopSignal()
    with exits_as("gss"):
        serve(data, ready_file, token_file.read_text("utf-8").strip(), host, stop, port)


if __name__ == "__main__":
    main()
