from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import numpy as np
import orjson
import psutil
import pyarrow.dataset as ds
import pytest

from lambda_pipeline.offline.record import record_file
from signals.architecture import HasNightlySteps, RunContext
from signals.declaration import for_galaxy
from signals.encodings import decode_thrift
from signals.errors import PipelineError
from signals.hive import HIVE_SCHEMA, MetastoreReader, read_partition
from signals.image import image_signature
from signals.record import record_key
from tests.integration.deadly_store import deadly_store
from tests.integration.lambda_run import LambdaRun, lambda_run, photo, shared_core, truncated

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]
PINS = [photo(n) for n in range(14)]
PRODUCTS = [*(photo(n) for n in range(20, 26)), PINS[0]]  # the last one is in two galaxies
BAD = truncated(99)
# Enough for every worker of the pool to have work in its hands when one of them is killed.
LATER = [photo(n) for n in range(40, 160)]


@pytest.fixture(scope="module")
def run(context: Callable[..., RunContext]) -> Iterator[LambdaRun]:
    """Two days: on the second one the images of the first come again, and a worker of the pool is killed."""
    with lambda_run(context("lambda", claim_seconds=4.0)) as run:
        run.submit([(data, "pinner_uploads") for data in PINS[:7]])
        run.submit([(data, "crawled") for data in [*PINS, BAD]])  # seven of them for the second time
        run.submit([(data, "shopping") for data in PRODUCTS])
        run.arm.end_day(0)
        run.submit([(data, "crawled") for data in [*PINS, *LATER, BAD]], day=1)
        killer = threading.Thread(target=kill_a_gpu_worker, args=(run.context,))
        killer.start()
        run.arm.end_day(1)
        killer.join()
        run.arm.drain(60)
        yield run


def kill_a_gpu_worker(context: RunContext) -> None:
    """As soon as one has a job in its hands."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        steps = record_file(context.arm_dir, 1)
        if steps.exists() and orjson.loads(steps.read_bytes())[-1]["name"] == "step4_infer":
            for process in psutil.process_iter(["cmdline"]):
                line = " ".join(process.info["cmdline"] or [])
                if "gpu_worker" in line and str(context.arm_dir) in line:
                    os.kill(process.pid, signal.SIGKILL)
                    return
        time.sleep(0.005)


def signatures(images: list[bytes]) -> set[str]:
    return {image_signature(data) for data in images}


def partitions(run: LambdaRun) -> dict[tuple[str, int], str]:
    with MetastoreReader(run.context.metastore_dsn, run.context.namespace) as reader:
        return reader.partitions()


def steps(run: LambdaRun, day: int) -> dict[str, Any]:
    return {step["name"]: step for step in orjson.loads(record_file(run.context.arm_dir, day).read_bytes())}


def test_each_galaxy_and_day_with_new_signals_has_a_partition_of_its_keys(run: LambdaRun) -> None:
    found = {
        key: Counter(read_partition(location, ["image_signature"]).column(0).to_pylist())
        for key, location in partitions(run).items()
    }
    expected = {("pins", 0): PINS, ("products", 0): PRODUCTS, ("pins", 1): LATER}
    assert set(found) == set(expected)
    for (galaxy, day), images in expected.items():
        assert set(found[galaxy, day]) == signatures(images)
        assert set(found[galaxy, day].values()) == {len(for_galaxy(galaxy))}


def test_any_parquet_reader_reads_a_partition(run: LambdaRun) -> None:
    location = partitions(run)["products", 0]
    path = location.removeprefix("file:")
    table = read_partition(location)
    assert table.schema == HIVE_SCHEMA
    rows = len(PRODUCTS) * len(for_galaxy("products"))
    assert table.num_rows == rows
    assert ds.dataset(path, format="parquet").to_table().num_rows == rows
    assert duckdb.sql(f"select count(*), min(version) from '{path}/*.parquet'").fetchall() == [(rows, 1)]


def test_values_are_those_of_the_shared_core_in_hive_and_in_rockstore(run: LambdaRun) -> None:
    (signature,) = signatures([PRODUCTS[0]])
    expected = shared_core(run.context, PRODUCTS[0], "shopping")
    stored = {
        row["signal"]: row
        for row in read_partition(partitions(run)["products", 0]).to_pylist()
        if row["image_signature"] == signature
    }
    with run.gss() as gss:
        for declaration, value in expected.items():
            row = stored[declaration.name]
            assert row["pipeline"] == "shopping"
            in_hive = np.frombuffer(row["values"], "<f4").reshape(row["shape"])
            np.testing.assert_allclose(in_hive, value, rtol=1e-3, atol=1e-4)
            served = gss.get(record_key("products", declaration.name, declaration.version, signature))
            assert served is not None
            assert decode_thrift(served).values == row["values"]


def test_every_key_of_the_night_is_served(run: LambdaRun) -> None:
    keys = [
        record_key(galaxy, row["signal"], row["version"], row["image_signature"])
        for (galaxy, _), location in partitions(run).items()
        for row in read_partition(location, ["image_signature", "signal", "version"]).to_pylist()
    ]
    with run.gss() as gss:
        assert all(gss.contains(keys))
    assert sum(steps(run, day)["step9_serve"]["outputs"]["served_keys"] for day in (0, 1)) == len(keys)


def test_an_image_at_fault_is_dead_lettered_and_fails_no_batch(run: LambdaRun) -> None:
    letters = [letter for letter in run.dead_letters() if letter.path == "nightly"]
    assert {(letter.day, letter.event_id, letter.reason) for letter in letters} == {
        (0, -1, "truncated"),
        (1, -1, "truncated"),  # it still has no signal, so it is in the second day's delta too
    }
    assert steps(run, 0)["step5_protobuf"]["outputs"]["dead_letters"] == 1
    rows = [row for row in run.ledger() if row["stage"] == "dead_letter" and row["path"] == "nightly"]
    assert {row["outcome"] for row in rows} == {"dead_letter"}
    assert {row["detail"].split(":")[0] for row in rows} == {"truncated"}


def test_steps_run_one_after_the_other_and_are_recorded(run: LambdaRun) -> None:
    recorded = list(steps(run, 0).values())
    assert [step["outcome"] for step in recorded] == ["ok"] * 10
    for before, after in itertools.pairwise(recorded):
        assert before["start_ns"] <= before["end_ns"] <= after["start_ns"]
    in_ledger = [row for row in run.ledger() if row["stage"] == "step" and row["day"] == 0]
    assert sorted((row["detail"], row["start_ns"]) for row in in_ledger) == sorted(
        (step["name"], step["start_ns"]) for step in recorded
    )
    assert steps(run, 1)["step1_delta"]["outputs"]["delta_images"] == len(LATER) + 1


def test_the_pool_is_up_from_step_3_and_gone_when_the_night_is_over(run: LambdaRun) -> None:
    started_ns = steps(run, 0)["step3_pool"]["start_ns"] - 50e6  # process start times have a coarse clock
    computed_ns, over_ns = (steps(run, 0)[name]["end_ns"] for name in ("step4_infer", "step9_serve"))
    pool = [row for row in run.ledger() if row["pool"] == "nightly" and row["start_ns"] < computed_ns]
    kinds = Counter(row["stage"] for row in pool if row["stage"].startswith("device"))
    assert kinds["device_provisioned"] == kinds["device_released"] == run.context.workers
    assert kinds["device_busy"] >= 1
    for row in pool:
        if row["stage"].startswith("device"):
            ends_before_ns = over_ns if row["stage"] == "device_released" else computed_ns
            assert started_ns <= row["start_ns"] <= row["end_ns"] <= ends_before_ns


def test_nightly_stages_are_contiguous(run: LambdaRun) -> None:
    order = ["queue", "fetch", "decode", "batch_wait", "inference", "job_wait", "encode", "write"]
    by_image: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in run.ledger():
        if row["path"] == "nightly" and row["stage"] in order and row["day"] == 0:
            by_image.setdefault((row["galaxy"], row["image_signature"]), []).append(row)
    assert len(by_image) == len(PINS) + len(PRODUCTS) + 1
    # Where a worker has one core, an image waits for its batch before it is decoded, too.
    with_turns = [*order[:2], "batch_wait", *order[2:]]
    complete = [rows for rows in by_image.values() if len(rows) in (len(order), len(with_turns))]
    assert len(complete) == len(PINS) + len(PRODUCTS)
    for rows in complete:
        rows.sort(key=lambda row: (row["start_ns"], row["end_ns"]))
        assert [row["stage"] for row in rows] == (order if len(rows) == len(order) else with_turns)
        for before, after in itertools.pairwise(rows):
            assert before["start_ns"] <= before["end_ns"] == after["start_ns"]


def test_a_killed_worker_of_the_pool_is_replaced(run: LambdaRun) -> None:
    restarted = [row for row in run.ledger() if row["stage"] == "process_restarted"]
    assert {row["path"] for row in restarted} == {"nightly"}


def test_no_process_of_the_pool_is_left(run: LambdaRun) -> None:
    lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if str(run.context.arm_dir) in line and ".offline." in line]


def test_a_night_that_fails_names_its_step(run: LambdaRun) -> None:
    with pytest.raises(PipelineError, match="day 0"):
        run.arm.end_day(0)  # its log is sealed already


def test_an_image_that_kills_its_workers_at_night_takes_no_other_with_it(
    context: Callable[..., RunContext],
) -> None:
    made = context("lambda", claim_seconds=3.0, max_attempts=2, workers=1)
    images = [photo(3000 + n) for n in range(6)]
    with deadly_store(made.s3.endpoint) as store:
        watched = dataclasses.replace(made.s3, endpoint=store.endpoint)
        with lambda_run(dataclasses.replace(made, s3=watched)) as run:
            run.context = made  # the images are staged in the store itself
            run.submit([(data, "crawled") for data in images])
            run.arm.drain(60)
            store.deadly.add(f"images/{image_signature(images[3])}")
            run.arm.end_day(0)
            assert isinstance(run.arm, HasNightlySteps)
            assert [run.arm.nightly_step(day) for day in (0, 1)] == ["step9_serve", ""]
            letters = [(x.image_signature, x.reason, x.attempts) for x in run.dead_letters()]
            outputs = {name: step["outputs"] for name, step in steps(run, 0).items()}
    assert letters == [(image_signature(images[3]), "attempts_exhausted", 3)]
    assert len(store.victims) == 2
    assert outputs["step5_protobuf"]["dead_letters"] == 1
    assert outputs["step9_serve"]["served_keys"] == 5 * len(for_galaxy("pins"))
