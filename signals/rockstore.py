"""Rockstore: the key-value store of computed signals, on RocksDB.

One process writes a store at a time. Others read a checkpoint, which is a consistent copy that shares the
store's immutable files by hard link.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    Checkpoint,
    DBCompressionType,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    SstFileWriter,
    WriteBatch,
)

from signals.errors import ConfigurationError, PipelineError, ServiceError

BLOCK_CACHE_BYTES = 256 * 2**20
WRITE_BUFFER_BYTES = 64 * 2**20
BLOOM_BITS_PER_KEY = 10.0
BLOCK_BYTES = 16 * 2**10  # a few embeddings: an index, which is in memory, has an entry for each block
SCAN_AHEAD_BYTES = 2 * 2**20


class Rockstore:
    """A folder of keys and values. Thread-safe. Raises ServiceError when RocksDB fails."""

    def __init__(self, path: Path) -> None:
        """Open for reading and writing, creating the store if need be; one process at a time."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open(path, AccessType.read_write())

    @classmethod
    def open_read_only(cls, path: Path) -> Rockstore:
        """Open a checkpoint for reading. Any number of processes may do so at once."""
        store = cls.__new__(cls)
        store._open(path, AccessType.read_only())
        return store

    def _open(self, path: Path, access: AccessType) -> None:
        self.path = path
        self._checkpointing = threading.Lock()
        with _rocksdb(path):
            self._db = Rdict(str(path), options=_options(), access_type=access)

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Write all items or none. They survive the death of this process, not a power cut."""
        batch = WriteBatch(raw_mode=True)
        for key, value in items:
            batch.put(key, value)
        with _rocksdb(self.path):
            self._db.write(batch)

    def get(self, key: bytes) -> bytes | None:
        """The value, None if there is none."""
        with _rocksdb(self.path):
            value: bytes | None = self._db.get(key)
            return value

    def multi_get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The value, or None, of each key, in the order of ``keys``."""
        with _rocksdb(self.path):
            values: list[bytes | None] = self._db.get(list(keys))
            return values

    def contains_many(self, keys: Sequence[bytes]) -> list[bool]:
        """Whether each key has a value, in the order of ``keys``. Keys that have none cost hardly a read."""
        once = _once()
        with _rocksdb(self.path):
            return [self._db.get(key, read_opt=once) is not None for key in keys]

    def scan(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All items whose key starts with ``prefix``, in key order, as of the first read. Raises where one
        can't be read."""
        for place in self._places(prefix):
            key = place.key()
            if not key.startswith(prefix):
                return
            yield key, place.value()

    def count(self) -> int:
        """The exact number of keys; reads all of them."""
        return sum(1 for _ in self._places(b""))

    def _places(self, start: bytes) -> Iterator[RdictIter]:
        """The iterator at each key from ``start`` on."""
        with _rocksdb(self.path):
            place = self._db.iter(_scan_options())
            place.seek(start)
            while place.valid():
                yield place
                place.next()
            # A block that can't be read looks like the end of the keys; iterating the binding never asks.
            place.status()

    def ingest(self, sst_paths: Sequence[Path]) -> None:
        """Add the files that :func:`write_sorted_sst` wrote, at once; a key that exists is replaced.

        The files are copied: the step that made them can be repeated.
        """
        if not sst_paths:
            return
        with _rocksdb(self.path):
            self._db.ingest_external_file([str(path) for path in sst_paths])

    def checkpoint(self, path: Path) -> None:
        """Write a consistent copy to ``path``, which appears complete; writing goes on meanwhile.

        ``path`` must not exist and must be on the store's own file system. Raises ConfigurationError.
        """
        with self._checkpointing, _rocksdb(self.path):
            if path.exists():
                raise ConfigurationError(f"a checkpoint can't be written to {path}: it exists")
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(path.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
            Checkpoint(self._db).create_checkpoint(str(partial))
            partial.rename(path)

    def close(self) -> None:
        """Flush and close. The store can't be used any more."""
        with _rocksdb(self.path):
            self._db.close()

    def __enter__(self) -> Rockstore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_sorted_sst(path: Path, items: Iterable[tuple[bytes, bytes]]) -> int:
    """Write ``items``, in strictly ascending key order, as a file for :meth:`Rockstore.ingest`.

    Returns their number; no file is written for 0 items. Raises PipelineError for items out of order.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    writer = SstFileWriter(options=_options())
    count = 0
    previous = b""
    with _rocksdb(path):
        for key, value in items:
            if count == 0:
                writer.open(str(partial))
            elif key <= previous:
                raise PipelineError(f"the items for {path} are not in strictly ascending key order")
            writer[key] = value
            previous = key
            count += 1
        if count:
            writer.finish()
            partial.rename(path)
    return count


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_compression_type(DBCompressionType.lz4())  # vectors hardly shrink; it must cost nothing
    options.set_keep_log_file_num(2)
    table = BlockBasedOptions()
    table.set_block_cache(Cache(BLOCK_CACHE_BYTES))
    table.set_block_size(BLOCK_BYTES)
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, False)
    options.set_block_based_table_factory(table)
    return options


def _once() -> ReadOptions:
    """For what comes by once: the cache would lose what is asked for, and pay for it. For a key that has no
    value, each file whose Bloom filter errs reads a block; these filled the whole cache."""
    options = ReadOptions()
    options.fill_cache(False)
    return options


def _scan_options() -> ReadOptions:
    options = _once()
    options.set_readahead_size(SCAN_AHEAD_BYTES)
    return options


@contextlib.contextmanager
def _rocksdb(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # rocksdict raises bare Exception for whatever RocksDB reports.
        if type(error) is Exception or type(error).__module__.startswith("rocksdict"):
            raise ServiceError(f"Rockstore at {path}: {error}") from error
        raise
