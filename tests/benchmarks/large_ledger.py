"""Result and report of a ledger of ten million events: how long, and how much memory.

``python -m tests.benchmarks.large_ledger`` makes a run folder of that size (two arms, two replicates of two
days), seals it, and then computes its result and writes its report in a process of its own, whose time and
peak memory are printed as JSON. It exits with 1 if they are above the limits.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa

from bench.database import connect
from bench.results import write_result
from bench.seal import seal
from reports.html import write_report
from signals.ledger import LEDGER_SCHEMA, Stage
from tests.unit.synthetic_run import SyntheticRun

LIMIT_SECONDS, LIMIT_BYTES, LIMIT_REPORT_BYTES = 20.0, 2 * 10**9, 5 * 10**6
ROWS_PER_BATCH = 100_000
DAY_SECONDS = 1000.0
CYCLES = 4  # replicates times days

# Steps of a night: start and end in seconds after midnight.
STEPS = {
    "lambda": [
        ("spark_session", 1, 11), ("step1_delta", 11, 14), ("step2_enqueue", 14, 15), ("step3_pool", 15, 20),
        ("step4_infer", 20, 175), ("step5_protobuf", 175, 178), ("step6_thrift", 178, 188),
        ("step7_hive", 188, 199), ("step8_upload", 199, 205), ("step9_serve", 205, 206),
    ],
    "kappa": [
        ("dump.watermark", 1, 2), ("dump.checkpoint", 2, 3), ("spark_session", 3, 13),
        ("dump.transform", 13, 190), ("dump.swap", 190, 199),
    ],
}  # fmt: skip
# An image's stages: path, name, start and length as multiples of a tenth of its latency.
STAGES = {
    "lambda": [
        ("online", "queue", 0, 2), ("online", "fetch", 2, 1), ("online", "decode", 3, 1),
        ("online", "batch_wait", 4, 1), ("online", "inference", 5, 2), ("online", "encode", 7, 1),
        ("online", "write", 8, 1), ("online", "publish", 9, 1), ("nightly", "queue", 0, 10),
        ("nightly", "fetch", 10, 1), ("nightly", "decode", 11, 1), ("nightly", "batch_wait", 12, 1),
        ("nightly", "inference", 13, 2), ("nightly", "encode", 15, 1), ("nightly", "write", 16, 1),
    ],
    "kappa": [
        ("stream", "queue", 0, 2), ("stream", "fetch", 2, 1), ("stream", "decode", 3, 1),
        ("stream", "batch_wait", 4, 1), ("stream", "inference", 5, 2), ("stream", "encode", 7, 1),
        ("stream", "write", 8, 1), ("stream", "publish", 9, 1),
    ],
}  # fmt: skip

_ARRIVALS = """
CREATE TEMP TABLE offered AS
SELECT
    i AS event_id, i % 4 // 2 + 1 AS replicate, i % 2 AS day,
    -- One in twenty arrives again: it has the signature of the arrival ten thousand before it.
    md5((CASE WHEN i % 20 = 7 AND i > 10000 THEN i - 10000 ELSE i END // 4)::VARCHAR || (i % 4)::VARCHAR)
        AS image_signature,
    1700000000000000000 + (i % 4) * 4000000000000 + (i * $spacing_ns)::BIGINT AS scheduled_ns,
    (2e7 * (1 - ln(greatest(random(), 1e-9))))::BIGINT AS latency_ns,
    i % 1000 = 999 AS is_dead
FROM range($arrivals) r(i)
"""
# When work on an image begins: at night all of a day's images follow each other within 150 s, from 20 s after
# midnight on; live, when it arrives.
_TAKEN = """
CREATE TEMP MACRO cycle_ns(event_id) AS 1700000000000000000 + (event_id % 4) * 4000000000000;
CREATE TEMP MACRO taken_ns(path, event_id, scheduled_ns) AS
    CASE path
        WHEN 'nightly' THEN
            cycle_ns(event_id) + 1020000000000 + (scheduled_ns - cycle_ns(event_id)) * 15 // 100
        ELSE scheduled_ns
    END;
"""
_ROWS = """
SELECT
    $arm AS arm, replicate::INTEGER AS replicate, day::INTEGER AS day, path, stage, event_id,
    image_signature, 'pins' AS galaxy, 'crawled' AS pipeline, start_ns, end_ns, 1::INTEGER AS attempt,
    pool, device, batch_size::INTEGER AS batch_size, outcome, detail,
    $arm || '-' || replicate || '-' || path AS process, replicate::BIGINT AS pid
FROM (
    SELECT *, 'harness' AS path, 'arrival' AS stage,
        scheduled_ns AS start_ns, scheduled_ns + 100000 AS end_ns,
        '' AS pool, '' AS device, 0 AS batch_size, 'ok' AS outcome, '' AS detail
    FROM offered
    UNION ALL BY NAME
    SELECT o.* REPLACE (if(s.path = 'nightly', -1, event_id) AS event_id), s.path, s.stage,
        taken_ns(s.path, event_id, scheduled_ns) + latency_ns * first // 10 AS start_ns,
        taken_ns(s.path, event_id, scheduled_ns) + latency_ns * (first + length) // 10 AS end_ns,
        pool, 'cpu:' || event_id % 2 AS device, if(s.stage = 'inference', 8, 0) AS batch_size,
        'ok' AS outcome, '' AS detail
    FROM offered o CROSS JOIN stages s
    WHERE NOT is_dead
    UNION ALL BY NAME
    SELECT *, 'consumer' AS path, 'available_online' AS stage, scheduled_ns AS start_ns,
        scheduled_ns + latency_ns AS end_ns, '' AS pool, '' AS device, 0 AS batch_size, 'ok' AS outcome,
        '' AS detail
    FROM offered WHERE NOT is_dead
    UNION ALL BY NAME
    SELECT * REPLACE (-1 AS event_id), 'consumer' AS path, 'available_batch' AS stage,
        cycle_ns(event_id) + 1200000000000 AS start_ns, cycle_ns(event_id) + 1200000000000 AS end_ns,
        '' AS pool, '' AS device, 0 AS batch_size, 'ok' AS outcome, '' AS detail
    FROM offered WHERE NOT is_dead
    UNION ALL BY NAME
    SELECT *, (SELECT any_value(path) FROM stages WHERE path <> 'nightly') AS path, 'dead_letter' AS stage,
        scheduled_ns + latency_ns AS start_ns, scheduled_ns + latency_ns AS end_ns, '' AS pool, '' AS device,
        0 AS batch_size, 'dead_letter' AS outcome, 'truncated: half of it is missing' AS detail
    FROM offered WHERE is_dead
    UNION ALL BY NAME
    SELECT o.* REPLACE (-1 AS event_id, '' AS image_signature), s.path, 'device_busy' AS stage,
        taken_ns(s.path, event_id, scheduled_ns) AS start_ns,
        taken_ns(s.path, event_id, scheduled_ns) + latency_ns // 5 AS end_ns, pool,
        'cpu:' || event_id % 2 AS device, 8 AS batch_size, 'ok' AS outcome, '' AS detail
    FROM (SELECT * FROM offered WHERE event_id % 8 = 0) o
    CROSS JOIN (SELECT * FROM stages WHERE stage = 'inference') s
)
"""


def make_run(run_dir: Path, events: int) -> None:
    """Write the raw streams of a run with about ``events`` events, and its manifest."""
    run = SyntheticRun(run_dir, replicates=2, day_seconds=DAY_SECONDS)
    for arm in run.arms:
        pools = {path for path, *_ in STAGES[arm]}
        for cycle in range(CYCLES):
            replicate, day, start = cycle // 2 + 1, cycle % 2, 4000.0 * cycle
            run.day(day, start=start, arm=arm, replicate=replicate)
            for name, first, last in STEPS[arm]:
                path = "nightly" if arm == "lambda" else "dump"
                span = (start + DAY_SECONDS + first, start + DAY_SECONDS + last)
                run.row(Stage.STEP, *span, arm=arm, replicate=replicate, day=day, path=path, detail=name)
            for pool in pools:
                of_pool: dict[str, Any] = {"arm": arm, "replicate": replicate, "pool": pool, "path": pool}
                for number in (0, 1):
                    device = {
                        "device": f"cpu:{number}",
                        "process": f"{arm}-{pool}",
                        "pid": 10 * cycle + number,
                    }
                    run.row("device_provisioned", start - 9, start - 5, **of_pool, **device)  # type: ignore[arg-type]
                    run.row("device_released", start - 5, start + 1300, **of_pool, **device)  # type: ignore[arg-type]
    run.write(sealed=False)
    per_arrival = sum(3 + len(stages) + len(stages) / 64 for stages in STAGES.values())
    arrivals = round(events / per_arrival)
    with connect() as connection:
        spacing_ns = DAY_SECONDS * 0.999e9 / arrivals
        connection.execute(_TAKEN)
        connection.execute("SELECT setseed(0.5)")
        connection.execute(_ARRIVALS, {"arrivals": arrivals, "spacing_ns": spacing_ns})
        for arm, stages in STAGES.items():
            _write_arm(connection, run_dir, arm, stages)


def _write_arm(
    connection: duckdb.DuckDBPyConnection, run_dir: Path, arm: str, stages: list[tuple[str, str, int, int]]
) -> None:
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE stages (path VARCHAR, stage VARCHAR, first BIGINT, length BIGINT, "
        "pool VARCHAR)"
    )
    rows = [(path, stage, first, length, path) for path, stage, first, length in stages]
    connection.executemany("INSERT INTO stages VALUES (?, ?, ?, ?, ?)", rows)
    batches = connection.sql(_ROWS, params={"arm": arm}).to_arrow_reader(ROWS_PER_BATCH)
    path = run_dir / "ledger" / "raw" / f"{arm}-0-0.arrows"
    with path.open("wb") as sink, pa.ipc.new_stream(sink, LEDGER_SCHEMA) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]).cast(LEDGER_SCHEMA))


def report(run_dir: Path) -> dict[str, float]:
    """Compute the result and write the page; seconds of each, and this process's peak memory."""
    start = time.perf_counter()
    write_result(run_dir)
    computed = time.perf_counter()
    page = write_report(run_dir)
    return {
        "result_seconds": computed - start,
        "page_seconds": time.perf_counter() - computed,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "page_bytes": page.stat().st_size,
    }


def main() -> int:
    """Measure, print as JSON, compare with the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="keep the run folder here, and use it again")
    parser.add_argument("--report-only", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.report_only:
        sys.stdout.write(orjson.dumps(report(options.report_only)).decode())
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        run_dir = options.folder or Path(temporary) / "run-large"
        found: dict[str, float] = {}
        if not (run_dir / "ledger" / "events.parquet").exists():
            run_dir.mkdir(parents=True)
            make_run(run_dir, options.events)
            start = time.perf_counter()
            seal(run_dir)
            found["seal_seconds"] = time.perf_counter() - start
        with connect() as connection:
            path = str(run_dir / "ledger" / "events.parquet")
            ((found["events"],),) = connection.execute(
                "SELECT count(*) FROM read_parquet($1)", [path]
            ).fetchall()
        own = [sys.executable, "-m", "tests.benchmarks.large_ledger", "--report-only", str(run_dir)]
        found |= orjson.loads(subprocess.run(own, check=True, stdout=subprocess.PIPE).stdout)
    sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")
    within = (
        found["result_seconds"] + found["page_seconds"] <= LIMIT_SECONDS
        and found["peak_bytes"] <= LIMIT_BYTES
        and found["page_bytes"] <= LIMIT_REPORT_BYTES
    )
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
