from __future__ import annotations

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.seal import raw_dir, seal
from signals.ledger import LEDGER_SCHEMA, Ledger, Stage


def rows(folder: Path) -> list[dict[str, object]]:
    tables = [pa.ipc.open_stream(path.read_bytes()).read_all() for path in sorted(folder.glob("*.arrows"))]
    return pa.concat_tables(tables).to_pylist()


def test_a_row_keeps_what_was_recorded(tmp_path: Path) -> None:
    with Ledger(tmp_path, process="worker-0", arm="kappa", replicate=2) as ledger:
        ledger.record(
            Stage.DECODE,
            start_ns=10,
            end_ns=20,
            path="stream",
            day=1,
            event_id=7,
            image_signature="ab",
            galaxy="pins",
            pipeline="crawled",
            attempt=2,
            pool="stream",
            device="cpu:0",
            batch_size=3,
            outcome="retry",
            detail="why",
        )
    (row,) = rows(tmp_path)
    assert row.pop("pid")
    assert row == {
        "arm": "kappa",
        "replicate": 2,
        "day": 1,
        "path": "stream",
        "stage": "decode",
        "event_id": 7,
        "image_signature": "ab",
        "galaxy": "pins",
        "pipeline": "crawled",
        "start_ns": 10,
        "end_ns": 20,
        "attempt": 2,
        "pool": "stream",
        "device": "cpu:0",
        "batch_size": 3,
        "outcome": "retry",
        "detail": "why",
        "process": "worker-0",
    }
    assert set(row) | {"pid"} == set(LEDGER_SCHEMA.names)


def test_nothing_is_lost_between_threads(tmp_path: Path) -> None:
    with Ledger(tmp_path, process="p") as ledger:

        def record(first: int) -> None:
            for number in range(first, first + 2000):
                ledger.record(Stage.ARRIVAL, start_ns=number, end_ns=number, event_id=number)
                if number % 500 == 0:
                    ledger.flush()

        threads = [threading.Thread(target=record, args=(n * 2000,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(row["event_id"] for row in rows(tmp_path)) == list(range(8000))


def test_what_was_flushed_can_be_read_while_the_process_lives(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, process="p")
    ledger.record(Stage.ARRIVAL, start_ns=1, end_ns=1)
    ledger.flush()
    (path,) = tmp_path.glob("*.arrows")
    assert pa.ipc.open_stream(path.read_bytes()).read_next_batch().num_rows == 1
    ledger.close()
    ledger.close()
    ledger.record(Stage.ARRIVAL, start_ns=2, end_ns=2)
    ledger.flush()
    assert len(rows(tmp_path)) == 1


def test_writing_does_not_import_pandas(tmp_path: Path) -> None:
    # It takes a second of CPU, which every process would pay while it has work to do.
    code = (
        "import sys, pathlib\n"
        "from signals.ledger import Ledger, Stage\n"
        "with Ledger(pathlib.Path(sys.argv[1]), process='p') as ledger:\n"
        "    ledger.record(Stage.FETCH, start_ns=1, end_ns=2, detail='ü\\udc80')\n"
        "sys.exit('pandas' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


def test_a_row_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    ledger = Ledger(raw_dir(tmp_path), process="worker-0")
    ledger.record(Stage.FETCH, start_ns=1, end_ns=2)
    ledger.flush()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    (file,) = raw_dir(tmp_path).glob("*.arrows")
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 10, limits[1]))
    try:  # as on a full disk, a part of the next batch is written
        ledger.record(Stage.DECODE, start_ns=2, end_ns=3)
        with pytest.raises(OSError, match="large"):
            ledger.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    ledger.record(Stage.WRITE, start_ns=3, end_ns=4)
    ledger.close()
    stages = pq.read_table(seal(tmp_path).path)["stage"].to_pylist()
    assert stages == ["fetch", "decode", "write"]
