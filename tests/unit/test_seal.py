from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.seal import events_path, raw_dir, seal
from signals.errors import PipelineError
from signals.ledger import LEDGER_SCHEMA, Ledger, Stage
from tests.unit.synthetic_run import DEFAULTS, write_streams


def row(number: int, **fields: object) -> dict[str, object]:
    return {
        **DEFAULTS,
        "stage": "fetch",
        "event_id": number,
        "start_ns": number,
        "end_ns": number + 1,
        **fields,
    }


def test_all_streams_become_one_file(tmp_path: Path) -> None:
    write_streams(raw_dir(tmp_path), [row(n, process=f"worker-{n % 3}", pid=n % 3) for n in range(300)])
    report = seal(tmp_path)
    table = pq.read_table(events_path(tmp_path))
    assert table.schema.equals(LEDGER_SCHEMA)
    assert sorted(table["event_id"].to_pylist()) == list(range(300))
    assert (report.streams, report.rows, report.truncated) == (3, 300, [])
    assert pq.ParquetFile(events_path(tmp_path)).metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("cut", [1, 100, 3000])
def test_a_killed_process_keeps_its_whole_batches(tmp_path: Path, cut: int) -> None:
    (path,) = write_streams(raw_dir(tmp_path), [row(n) for n in range(200)])  # four batches of 50
    path.write_bytes(path.read_bytes()[:-cut])
    seal(tmp_path)
    kept = pq.read_table(events_path(tmp_path))["event_id"].to_pylist()
    assert kept == list(range(len(kept)))
    assert len(kept) % 50 == 0
    assert len(kept) >= 100


def test_any_cut_is_tolerated(tmp_path: Path) -> None:
    (path,) = write_streams(raw_dir(tmp_path), [row(n) for n in range(100)])
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        report = seal(tmp_path)
        assert report.rows in (0, 50, 100)
        assert report.rows == pq.read_metadata(events_path(tmp_path)).num_rows


def test_a_stream_that_was_killed_with_sigkill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "from signals.ledger import Ledger, Stage\n"
        "ledger = Ledger(Path(sys.argv[1]), process='victim', arm='kappa', replicate=1)\n"
        "for n in range(1000):\n"
        "    ledger.record(Stage.FETCH, start_ns=n, end_ns=n + 1, event_id=n)\n"
        "ledger.flush()\n"
        "ledger.record(Stage.FETCH, start_ns=1, end_ns=2, event_id=1000)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(raw_dir(tmp_path))], check=False)
    assert seal(tmp_path).rows == 1000


def test_a_run_without_streams_has_an_empty_ledger(tmp_path: Path) -> None:
    assert seal(tmp_path).rows == 0
    assert pq.read_schema(events_path(tmp_path)).equals(LEDGER_SCHEMA)


def test_sealing_again_replaces(tmp_path: Path) -> None:
    with Ledger(raw_dir(tmp_path), process="a") as ledger:
        ledger.record(Stage.DAY, start_ns=1, end_ns=2)
    assert seal(tmp_path).rows == seal(tmp_path).rows == 1
    assert [path.name for path in events_path(tmp_path).parent.glob("events.parquet*")] == ["events.parquet"]


def test_a_foreign_stream_is_refused(tmp_path: Path) -> None:
    raw_dir(tmp_path).mkdir(parents=True)
    schema = pa.schema([("a", pa.int32())])
    with pa.ipc.new_stream(str(raw_dir(tmp_path) / "foreign.arrows"), schema) as writer:
        writer.write_table(pa.table({"a": [1]}, schema))
    with pytest.raises(PipelineError, match=r"foreign\.arrows"):
        seal(tmp_path)
    assert not events_path(tmp_path).exists()


def test_small_batches_become_large_row_groups_in_bounded_memory(tmp_path: Path) -> None:
    batch = pa.Table.from_pylist([row(n, detail="x" * 50) for n in range(1000)], LEDGER_SCHEMA)
    raw_dir(tmp_path).mkdir(parents=True)
    with pa.ipc.new_stream(str(raw_dir(tmp_path) / "busy.arrows"), LEDGER_SCHEMA) as writer:
        for _ in range(400):
            writer.write_table(batch)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert seal(tmp_path).rows == 400_000
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert pq.read_metadata(events_path(tmp_path)).num_row_groups == 4
    assert grown_mib < 400
