"""How many values GSS serves: multi-gets from several clients, and single gets at a steady rate."""

from __future__ import annotations

import itertools
import multiprocessing
import secrets
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.services.gss import start_gss
from signals.architecture import RpcEndpoint
from signals.gss import GssClient
from signals.process import ProcessGroup

STORE = "throughput"
VALUE_BYTES = 5 * 1024  # an embedding of 1,280 float32 numbers
KEYS = 20_000
KEYS_PER_CALL = 64
CLIENTS = 2
SINGLE_PER_SECOND = 1_000


@dataclass(frozen=True, slots=True)
class GssSpeed:
    """Values of VALUE_BYTES over loopback, from one server process."""

    multi_get_values_per_second: float
    single_get_p50_seconds: float  # from when the schedule says that it is sent
    single_get_p99_seconds: float


def measure_gss(seconds: float) -> GssSpeed:
    """Fill a store and read it for ``seconds`` in each of the two ways. Raises ServiceError."""
    with tempfile.TemporaryDirectory(prefix="lkbench-gss-") as folder, ProcessGroup(Path(folder)) as group:
        endpoint = start_gss(group, Path(folder), secrets.token_hex(16))
        with GssClient(endpoint, STORE) as client:
            client.put((_key(number), secrets.token_bytes(VALUE_BYTES)) for number in range(KEYS))
        arguments = (endpoint, seconds)
        with ProcessPoolExecutor(CLIENTS, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(abs, range(CLIENTS)))  # processes are up before anything is timed
            rates = [pool.submit(_multi_gets, *arguments, seed) for seed in range(CLIENTS)]
            values_per_second = sum(rate.result() for rate in rates)
            waited = np.asarray(pool.submit(_single_gets, *arguments).result())
    return GssSpeed(
        multi_get_values_per_second=values_per_second,
        single_get_p50_seconds=float(np.quantile(waited, 0.5)),
        single_get_p99_seconds=float(np.quantile(waited, 0.99)),
    )


def _key(number: int) -> bytes:
    return f"pins/visual_embedding/v1/{number:032x}".encode()


def _multi_gets(endpoint: RpcEndpoint, seconds: float, seed: int) -> float:
    """Values per second that one client gets."""
    random = np.random.default_rng(seed)
    calls = [[_key(int(n)) for n in random.integers(0, KEYS, KEYS_PER_CALL)] for _ in range(64)]
    with GssClient(endpoint, STORE) as client:
        client.multi_get(calls[0])
        started, values = time.monotonic(), 0
        for keys in itertools.cycle(calls):
            values += sum(value is not None for value in client.multi_get(keys))
            if (elapsed := time.monotonic() - started) >= seconds:
                break
    return values / elapsed


def _single_gets(endpoint: RpcEndpoint, seconds: float) -> list[float]:
    """Seconds from when each get was due until it was answered, an open loop of one connection."""
    random = np.random.default_rng(0)
    keys = [_key(int(n)) for n in random.integers(0, KEYS, round(seconds * SINGLE_PER_SECOND))]
    waited: list[float] = []
    with GssClient(endpoint, STORE) as client:
        client.get(keys[0])
        started = time.monotonic()
        for number, key in enumerate(keys):
            due = started + number / SINGLE_PER_SECOND
            if (left := due - time.monotonic()) > 0:
                time.sleep(left)
            client.get(key)
            waited.append(time.monotonic() - due)
    return waited
