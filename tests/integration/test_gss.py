from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.config import HarnessConfig
from bench.run_context import run_context, with_gss
from bench.services.leftovers import remove_stores
from bench.services.stack import Endpoints
from signals.architecture import RpcEndpoint, S3Endpoint
from signals.encodings import decode_thrift, encode_thrift
from signals.errors import ServiceError
from signals.gss import BYTES_PER_CALL, KEYS_PER_CALL, GssClient
from signals.process import Child, ProcessGroup
from signals.rockstore import Rockstore, write_sorted_sst
from signals.rpc import check_endpoint
from signals.rpc_channel import RpcRejected
from tests.unit.record_strategies import record

pytestmark = pytest.mark.integration

TOKEN = "the token of this run"
START_SECONDS = 30.0


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ProcessGroup]:
    with ProcessGroup(tmp_path / "logs") as running:
        yield running


@pytest.fixture
def child(group: ProcessGroup, tmp_path: Path) -> Child:
    (tmp_path / "token").write_text(TOKEN + "\n")
    argv = [sys.executable, "-m", "signals.gss", "--data", str(tmp_path / "store")]
    argv += ["--ready-file", str(tmp_path / "ready.json"), "--token-file", str(tmp_path / "token")]
    return group.start("gss", argv, restart=True)


@pytest.fixture
def endpoint(group: ProcessGroup, child: Child, tmp_path: Path) -> RpcEndpoint:
    ready = group.wait_for_file(child, tmp_path / "ready.json", START_SECONDS)
    assert ready["pid"] == child.pid
    return RpcEndpoint(str(ready["host"]), int(str(ready["port"])), TOKEN)


@pytest.fixture
def gss(endpoint: RpcEndpoint) -> Iterator[GssClient]:
    with GssClient(endpoint, "pins", retry_seconds=START_SECONDS) as client:
        yield client


def items(*numbers: int, value: bytes = b"value") -> list[tuple[bytes, bytes]]:
    return [(b"pins/%06d" % number, value) for number in numbers]


def test_records_are_looked_up_as_they_were_written(gss: GssClient) -> None:
    written = [record(number) for number in range(3)]
    gss.put((each.key, encode_thrift(each)) for each in written)

    found = gss.get(written[1].key)
    assert found is not None
    assert decode_thrift(found) == written[1]
    assert gss.get(record(9).key) is None
    keys = [written[0].key, record(9).key, written[2].key]
    assert gss.multi_get(keys) == [encode_thrift(written[0]), None, encode_thrift(written[2])]
    assert gss.contains(keys) == [True, False, True]
    assert gss.count() == 3


def test_an_empty_value_is_not_a_missing_one(gss: GssClient) -> None:
    gss.put([(b"empty", b"")])
    assert gss.multi_get([b"missing", b"empty"]) == [None, b""]


def test_no_keys_no_values(gss: GssClient) -> None:
    gss.put([])
    assert gss.multi_get([]) == []
    assert gss.contains([]) == []


def test_more_than_fits_into_a_call(gss: GssClient) -> None:
    numbers = range(2 * KEYS_PER_CALL + 1)
    gss.put(items(*numbers))
    keys = [key for key, _ in items(*numbers, KEYS_PER_CALL**2)]

    assert gss.multi_get(keys) == [b"value"] * len(numbers) + [None]
    assert gss.contains(keys) == [True] * len(numbers) + [False]

    large = items(1, 2, 3, 4, 5, 6, value=b"x" * (BYTES_PER_CALL // 2 - 100))
    gss.put(large)
    assert gss.multi_get([key for key, _ in large]) == [value for _, value in large]


def test_ingested_files_can_be_read_and_replace(gss: GssClient, tmp_path: Path) -> None:
    gss.put(items(1, value=b"old"))
    write_sorted_sst(tmp_path / "1.sst", items(1, 2, value=b"new"))

    gss.ingest([tmp_path / "1.sst"])

    assert gss.multi_get([b"pins/000001", b"pins/000002"]) == [b"new", b"new"]


def test_a_checkpoint_is_read_here_while_gss_takes_writes(gss: GssClient, tmp_path: Path) -> None:
    gss.put(items(1, 2))
    gss.checkpoint(tmp_path / "day0")
    gss.put(items(3))

    with Rockstore.open_read_only(tmp_path / "day0") as checkpoint:
        assert checkpoint.count() == 2
    assert gss.count() == 3
    with pytest.raises(RpcRejected, match="exists"):
        gss.checkpoint(tmp_path / "day0")


def test_the_token_is_needed(gss: GssClient, endpoint: RpcEndpoint) -> None:
    guess = dataclasses.replace(endpoint, token="guess")
    with GssClient(guess, "pins") as stranger, pytest.raises(RpcRejected, match="token"):
        stranger.count()
    check_endpoint(endpoint)
    with pytest.raises(RpcRejected, match="token"):
        check_endpoint(guess)
    assert gss.count() == 0


def test_stores_know_nothing_of_each_other_and_are_dropped_by_prefix(
    gss: GssClient, endpoint: RpcEndpoint, tmp_path: Path
) -> None:
    names = ("lk_1_a0", "lk_1_a1", "lk_2_a0")
    stores = [GssClient(endpoint, name) for name in names]
    for number, store in enumerate(stores):
        store.put(items(*range(number + 1)))
    assert [store.count() for store in stores] == [1, 2, 3]
    with GssClient(endpoint, "lk_1") as run:
        assert run.drop() == 2
        assert run.drop() == 0
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["lk_2_a0"]
    assert [store.count() for store in stores] == [0, 0, 3]  # made anew when it is named again
    for store in stores:
        store.close()
    for name in ("", "../lk", "LK"):
        with GssClient(endpoint, name) as wrong:
            for call in (wrong.count, wrong.drop):
                with pytest.raises(RpcRejected, match="can't be"):
                    call()


def test_threads_share_a_client(gss: GssClient) -> None:
    def write_and_read(number: int) -> bytes | None:
        gss.put(items(number, value=b"%d" % number))
        return gss.get(b"pins/%06d" % number)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write_and_read, range(200))) == [b"%d" % number for number in range(200)]


def test_what_was_answered_survives_a_kill(
    gss: GssClient, child: Child, group: ProcessGroup, tmp_path: Path
) -> None:
    gss.put(items(*range(100)))

    os.kill(child.pid, signal.SIGKILL)

    assert gss.count() == 100  # restarted at the same address, found again
    assert child.restarts == 1


def test_a_call_to_a_gss_that_is_gone_is_a_service_error(
    endpoint: RpcEndpoint, child: Child, group: ProcessGroup
) -> None:
    with GssClient(endpoint, "pins", retry_seconds=0.1) as client:
        client.put(items(1))
        group.stop_child(child)
        with pytest.raises(ServiceError, match=str(endpoint.port)):
            client.get(b"pins/000001")


def test_sigterm_ends_it_cleanly(gss: GssClient, child: Child, group: ProcessGroup, tmp_path: Path) -> None:
    gss.put(items(1, 2, 3))

    group.stop_child(child)

    assert child.popen.returncode == 0
    assert child.log.read_text() == ""
    with Rockstore(tmp_path / "store" / "pins") as store:
        assert store.count() == 3


def test_a_second_gss_on_the_same_store_says_why_it_can_not(
    gss: GssClient, group: ProcessGroup, tmp_path: Path
) -> None:
    gss.put(items(1))
    argv = [sys.executable, "-m", "signals.gss", "--data", str(tmp_path / "store")]
    argv += ["--ready-file", str(tmp_path / "second.json"), "--token-file", str(tmp_path / "token")]
    second = group.start("second", argv)

    ready = group.wait_for_file(second, tmp_path / "second.json", START_SECONDS)
    with (
        GssClient(RpcEndpoint(str(ready["host"]), int(str(ready["port"])), TOKEN), "pins") as other,
        pytest.raises(RpcRejected, match="lock"),
    ):
        other.count()
    assert gss.count() == 1


def test_an_arm_gets_the_external_gss_or_one_of_its_own(
    group: ProcessGroup, endpoint: RpcEndpoint, tmp_path: Path
) -> None:
    for gss in (endpoint, None):
        servers = Endpoints("lk_mine", "", {}, S3Endpoint("", "", "", ""), "", "", Path(), "", {}, gss)
        folder = tmp_path / ("own" if gss is None else "external")
        context = run_context(
            servers,
            HarnessConfig(),
            arm="lambda",
            replicate=1,
            suffix="1",
            run_dir=folder,
            arm_dir=folder / "arm",
            model_dir=Path(),
            day_seconds=1.0,
        )
        before = len(group.children)
        served = with_gss(context, group)
        assert served.gss == gss or gss is None
        assert len(group.children) - before == (gss is None)
        with GssClient.of_run(served) as client:
            client.put(items(1))
            assert client.count() == 1
            remove_stores(served.gss, servers.namespace)
            assert client.count() == 0  # a new store, opened by the question
