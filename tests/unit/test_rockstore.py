from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from signals.errors import ConfigurationError, PipelineError, ServiceError
from signals.rockstore import Rockstore, write_sorted_sst


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Rockstore]:
    with Rockstore(tmp_path / "store") as opened:
        yield opened


def items(*numbers: int, value: bytes = b"value") -> list[tuple[bytes, bytes]]:
    return [(b"pins/%03d" % number, value) for number in numbers]


def test_reads_what_was_written(store: Rockstore) -> None:
    store.put_many([(b"a", b"1"), (b"b", b""), (b"\x00\xff", b"\x00" * 5000)])

    assert store.get(b"a") == b"1"
    assert store.get(b"nothing") is None
    assert store.multi_get([b"b", b"nothing", b"\x00\xff", b"b"]) == [b"", None, b"\x00" * 5000, b""]
    assert store.contains_many([b"a", b"b", b"nothing"]) == [True, True, False]
    assert store.count() == 3


def test_nothing_asked_is_nothing_answered(store: Rockstore) -> None:
    store.put_many([])
    store.ingest([])

    assert store.multi_get([]) == []
    assert store.contains_many([]) == []
    assert list(store.scan()) == []


def test_a_second_write_replaces_the_first(store: Rockstore) -> None:
    store.put_many([(b"a", b"1"), (b"a", b"2")])
    store.put_many([(b"a", b"3")])

    assert store.get(b"a") == b"3"
    assert store.count() == 1


def test_scan_yields_a_prefix_in_order(store: Rockstore) -> None:
    store.put_many([(b"b/2", b""), (b"a/9", b""), (b"b/1", b"x"), (b"b0", b""), (b"c", b"")])

    assert list(store.scan(b"b/")) == [(b"b/1", b"x"), (b"b/2", b"")]
    assert len(list(store.scan())) == 5


def test_a_block_that_cannot_be_read_is_no_end_of_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "store"
    written = items(*range(100), value=bytes(5_000))
    with Rockstore(path) as store:
        write_sorted_sst(tmp_path / "x.sst", written)
        store.ingest([tmp_path / "x.sst"])
    (file,) = path.glob("*.sst")
    content = bytearray(file.read_bytes())
    content[len(content) // 4] ^= 0xFF
    file.write_bytes(content)
    with Rockstore(path) as store:
        with pytest.raises(ServiceError, match="checksum"):
            list(store.scan())
        with pytest.raises(ServiceError, match="checksum"):
            store.count()


def test_content_survives_reopening(tmp_path: Path) -> None:
    with Rockstore(tmp_path / "s") as first:
        first.put_many(items(1, 2))
    with Rockstore(tmp_path / "s") as second:
        assert second.count() == 2


def test_ingested_files_replace_and_add(store: Rockstore, tmp_path: Path) -> None:
    store.put_many(items(1, 2, value=b"old"))

    assert write_sorted_sst(tmp_path / "1.sst", items(2, 3, value=b"new")) == 2
    assert write_sorted_sst(tmp_path / "2.sst", iter(items(4, value=b"new"))) == 1
    store.ingest([tmp_path / "1.sst", tmp_path / "2.sst"])
    store.ingest([tmp_path / "1.sst", tmp_path / "2.sst"])  # the step may be repeated

    assert [value for _, value in store.scan(b"pins/")] == [b"old", b"new", b"new", b"new"]


def test_a_write_after_ingestion_wins(store: Rockstore, tmp_path: Path) -> None:
    write_sorted_sst(tmp_path / "1.sst", items(1, value=b"ingested"))
    store.ingest([tmp_path / "1.sst"])
    store.put_many(items(1, value=b"written"))

    assert store.get(b"pins/001") == b"written"


@pytest.mark.parametrize("numbers", [(2, 1), (1, 1)])
def test_unsorted_or_repeated_keys_make_no_file(tmp_path: Path, numbers: tuple[int, int]) -> None:
    with pytest.raises(PipelineError, match="ascending"):
        write_sorted_sst(tmp_path / "x.sst", items(*numbers))
    assert not (tmp_path / "x.sst").exists()


def test_no_items_make_no_file(tmp_path: Path) -> None:
    assert write_sorted_sst(tmp_path / "x.sst", []) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_sst_is_refused_and_changes_nothing(store: Rockstore, tmp_path: Path) -> None:
    (tmp_path / "bad.sst").write_bytes(b"not a table")

    with pytest.raises(ServiceError):
        store.ingest([tmp_path / "bad.sst"])
    assert store.count() == 0


READ_CHECKPOINT = """
import sys
from pathlib import Path
from signals.rockstore import Rockstore
with Rockstore.open_read_only(Path(sys.argv[1])) as checkpoint:
    print(checkpoint.count(), checkpoint.get(b"pins/001"))
"""


def test_another_process_reads_a_checkpoint_while_the_writer_goes_on(
    store: Rockstore, tmp_path: Path
) -> None:
    store.put_many(items(1, 2, 3, value=b"before"))
    store.checkpoint(tmp_path / "checkpoints" / "day0")
    store.put_many(items(1, 4, 5, value=b"after"))

    def read() -> str:
        command = [sys.executable, "-c", READ_CHECKPOINT, str(tmp_path / "checkpoints" / "day0")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert read() == "3 b'before'\n"
    store.put_many(items(6))
    assert read() == "3 b'before'\n"
    assert store.get(b"pins/001") == b"after"
    assert store.count() == 6
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["day0"]


def test_a_checkpoint_never_replaces_anything(store: Rockstore, tmp_path: Path) -> None:
    store.checkpoint(tmp_path / "day0")
    with pytest.raises(ConfigurationError, match="exists"):
        store.checkpoint(tmp_path / "day0")


def test_what_a_killed_checkpoint_left_is_cleared(store: Rockstore, tmp_path: Path) -> None:
    (tmp_path / "day0.partial").mkdir()
    (tmp_path / "day0.partial" / "CURRENT").write_text("half")

    store.checkpoint(tmp_path / "day0")

    with Rockstore.open_read_only(tmp_path / "day0") as checkpoint:
        assert checkpoint.count() == 0


def test_a_checkpoint_is_read_only(store: Rockstore, tmp_path: Path) -> None:
    store.checkpoint(tmp_path / "day0")
    with Rockstore.open_read_only(tmp_path / "day0") as checkpoint, pytest.raises(ServiceError):
        checkpoint.put_many(items(1))


def test_a_store_has_one_writer(store: Rockstore) -> None:
    with pytest.raises(ServiceError, match="lock"):
        Rockstore(store.path)


def test_a_missing_checkpoint_and_a_closed_store_are_plain_errors(tmp_path: Path) -> None:
    with pytest.raises(ServiceError):
        Rockstore.open_read_only(tmp_path / "nothing")
    store = Rockstore(tmp_path / "s")
    store.close()
    with pytest.raises(ServiceError, match="closed"):
        store.get(b"a")
