"""The parts of a wait: known histories, and any ledger whatever."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.ledger_query import open_ledger
from bench.results import write_result
from bench.verify import verify_run
from signals.ledger import Stage
from tests.unit.synthetic_run import GALAXY, SyntheticRun, complete_run, signature

STAGES = (
    *(Stage.QUEUE, Stage.FETCH, Stage.DECODE, Stage.BATCH_WAIT, Stage.INFERENCE),
    *(Stage.ENCODE, Stage.WRITE, Stage.PUBLISH),
)
Parts = dict[str, float]


def parts_of(run_dir: Path) -> dict[tuple[str, int], Parts]:
    """Seconds of each part by (consumer, event_id)."""
    found: dict[tuple[str, int], Parts] = defaultdict(dict)
    with open_ledger(run_dir) as ledger:
        ledger.add_parts()
        for row in ledger.execute("SELECT * FROM wait_parts JOIN waits USING (wait) WHERE ns > 0"):
            found[row["consumer"], row["event_id"]][row["part"]] = row["ns"] / 1e9
    return found


def trail(run: SyntheticRun, path: str, ends: dict[Stage, float], start: float, **fields: Any) -> None:
    """Contiguous stages of image 0, each with its end."""
    fields = {"path": path, "image_signature": signature(0), "galaxy": GALAXY, "day": 0, "pid": 7, **fields}
    for stage, end in ends.items():
        run.row(stage, start, end, **fields)
        start = end


def one_image(run_dir: Path, arm: str) -> SyntheticRun:
    run = SyntheticRun(run_dir, arms=(arm,))
    run.day(arm=arm)
    run.arrival(0, 0, 1.0, late=0.25, arm=arm)
    return run


def steps(run: SyntheticRun, arm: str, path: str, spans: dict[str, tuple[float, float]]) -> None:
    for name, (start, end) in spans.items():
        run.row(Stage.STEP, start, end, arm=arm, day=0, path=path, detail=name)


def test_the_online_wait_is_cut_where_the_client_has_the_signals(tmp_path: Path) -> None:
    run = one_image(tmp_path / "run-1", "kappa")
    ends = dict(zip(STAGES, (2.0, 2.5, 3.0, 3.25, 4.0, 4.25, 4.5, 5.5), strict=True))
    trail(run, "stream", ends, 1.0, event_id=0)
    run.online(0, 0, 1.0, 5.0)  # before the broker's confirmation came back
    assert parts_of(run.write())["online", 0] == {
        **{"generator": 0.25, "queue": 0.75, "fetch": 0.5, "decode": 0.5, "batch_wait": 0.25},
        **{"inference": 0.75, "encode": 0.25, "write": 0.25, "publish": 0.5},
    }


def test_a_retry_shows_the_attempts_before_it(tmp_path: Path) -> None:
    run = one_image(tmp_path / "run-1", "lambda")
    of_image: dict[str, Any] = {"arm": "lambda", "event_id": 0}
    trail(run, "online", {Stage.QUEUE: 2.0}, 1.0, **of_image)
    trail(run, "online", {Stage.FETCH: 3.0}, 2.0, **of_image, outcome="retry")
    trail(run, "online", {Stage.QUEUE: 4.0, Stage.PUBLISH: 5.0}, 1.0, **of_image, attempt=2, pid=8)
    run.online(0, 0, 1.0, 5.5, arm="lambda")
    assert parts_of(run.write())["online", 0] == {
        **{"generator": 0.25, "earlier_attempts": 1.75, "queue": 1.0, "publish": 1.0, "notice": 0.5}
    }


@pytest.mark.parametrize("is_first_lost", [False, True])
def test_a_repeat_that_is_announced_first_ends_the_wait_of_its_key(
    tmp_path: Path, is_first_lost: bool
) -> None:
    run = one_image(tmp_path / "run-1", "kappa")
    trail(run, "stream", {Stage.QUEUE: 2.0, Stage.PUBLISH: 9.0}, 1.0, event_id=0)
    if not is_first_lost:
        run.online(0, 0, 1.0, 9.5)
    run.arrival(1, 0, 3.0, late=0.25)
    ends = {Stage.QUEUE: 4.0, Stage.FETCH: 4.5, Stage.PUBLISH: 5.0}
    trail(run, "stream", ends, 3.0, event_id=1, pid=8)
    run.online(1, 0, 3.0, 5.5)
    of_repeat = {"generator": 0.25, "queue": 0.75, "fetch": 0.5, "publish": 0.5, "notice": 0.5}
    result = write_result(run.write())["arms"]["kappa"]
    assert parts_of(run.run_dir) == {
        ("online", 0): {**of_repeat, "overtaken": 2.0},
        ("online_repeat", 1): of_repeat,
    }
    assert result["latency"]["online"]["max_seconds"] == 4.5
    (whole,) = (
        row for row in result["stage_parts"]["rows"] if (row["consumer"], row["part"]) == ("online", "whole")
    )
    assert whole["mean_seconds"] == 4.5
    assert result["completeness"]["lost_arrivals"] == is_first_lost


def test_the_nightly_wait_of_an_image_follows_it_through_the_pool(tmp_path: Path) -> None:
    run = one_image(tmp_path / "run-1", "lambda")
    spans = {
        **{"spark_session": (11.0, 12.0), "step1_delta": (12.0, 13.0), "step2_enqueue": (13.0, 14.0)},
        **{"step3_pool": (14.5, 16.0), "step4_infer": (16.0, 20.0), "step5_protobuf": (20.0, 21.0)},
        **{"step6_thrift": (21.0, 22.0), "step7_hive": (22.0, 25.0), "step8_upload": (25.0, 26.0)},
    }
    steps(run, "lambda", "nightly", spans)
    ends = {Stage.QUEUE: 17.0, Stage.FETCH: 17.5, Stage.INFERENCE: 18.0, Stage.WRITE: 18.5}
    trail(run, "nightly", ends, 13.5, arm="lambda")
    run.row(Stage.SWAP, 24.0, 25.0, arm="lambda", day=0, path="nightly", galaxy=GALAXY)
    run.batch(0, 25.5, arm="lambda")
    assert parts_of(run.write())["batch", 0] == {
        **{"wait_for_midnight": 9.0, "night_start": 1.0, "spark_session": 1.0, "delta": 1.0, "enqueue": 1.0},
        **{"between_steps": 0.5, "pool": 1.5, "queue": 1.0, "fetch": 0.5, "inference": 0.5, "write": 0.5},
        **{"wait_for_pool": 1.5, "protobuf": 1.0, "thrift": 1.0, "hive": 2.0, "swap": 1.0, "read": 0.5},
    }


def test_the_wait_for_a_dump_is_its_steps(tmp_path: Path) -> None:
    run = one_image(tmp_path / "run-1", "kappa")
    spans = {"dump.watermark": (11.0, 12.0), "dump.transform": (12.0, 15.0), "dump.swap": (15.0, 18.0)}
    steps(run, "kappa", "dump", spans)
    run.row(Stage.SWAP, 16.0, 17.0, day=0, path="dump", galaxy=GALAXY)
    run.batch(0, 17.25)
    assert parts_of(run.write())["batch", 0] == {
        **{"wait_for_midnight": 9.0, "night_start": 1.0, "watermark": 1.0, "transform": 3.0},
        **{"swap": 2.0, "read": 0.25},
    }


def test_means_of_the_parts_add_up_to_the_mean_latency(tmp_path: Path) -> None:
    result = write_result(complete_run(tmp_path / "run-1").write())
    for arm in ("lambda", "kappa"):
        rows = result["arms"][arm]["stage_parts"]["rows"]
        for consumer in ("online", "batch"):
            mine = {row["part"]: row for row in rows if row["consumer"] == consumer}
            whole = mine["whole"]
            mine = {part: row for part, row in mine.items() if not row["is_total"]}
            assert sum(row["mean_seconds"] for row in mine.values()) == pytest.approx(whole["mean_seconds"])
            assert sum(row["share_of_whole"] for row in mine.values()) == pytest.approx(1.0)
            assert whole["n"] == whole["images"] == result["arms"][arm]["latency"][consumer]["n"]


def failed_checks(run: SyntheticRun) -> dict[str, str]:
    write_result(run.write())
    return {check.name: check.detail for check in verify_run(run.run_dir) if not check.ok}


def test_verify_names_time_that_nobody_accounts_for(tmp_path: Path) -> None:
    run = complete_run(tmp_path / "a")
    run.events = [e for e in run.events if not (e["stage"] == "fetch" and e["path"] == "stream")]
    assert "time that no row accounts for" in failed_checks(run)["parts kappa"]
    run = complete_run(tmp_path / "b")
    run.events = [e for e in run.events if not (e["stage"] == "publish" and e["path"] == "stream")]
    assert "40 waits have time" in failed_checks(run)["parts kappa"]
    run.row(Stage.PROCESS_RESTARTED, 1.0, 1.0, arm="kappa")  # it took its rows with it
    assert "parts kappa" not in failed_checks(run)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32))
def test_the_parts_of_any_ledger_sum_to_the_whole(seed: int) -> None:
    """Stages out of order, overlapping, missing, backwards, repeated; steps likewise; swaps or none."""
    rng = np.random.default_rng(seed)

    def moment(low: float = 0.0, high: float = 40.0) -> float:
        return round(float(rng.uniform(low, high)), 9)

    with TemporaryDirectory() as folder:
        run = SyntheticRun(Path(folder) / "run-1")
        whole: dict[tuple[str, str, int], float] = {}
        for arm, path in (("lambda", "online"), ("kappa", "stream")):
            run.day(arm=arm)
            for name in ("spark_session", "step1_delta", "step4_infer", "dump.swap"):
                for _ in range(rng.integers(0, 3)):
                    outcome = str(rng.choice(["ok", "error"]))
                    run.row(
                        *(Stage.STEP, moment(5.0), moment(5.0)), arm=arm, day=0, detail=name, outcome=outcome
                    )
            for _ in range(rng.integers(0, 3)):
                run.row(Stage.SWAP, moment(), moment(), arm=arm, day=0, galaxy=GALAXY)
            for image in range(25):
                scheduled, online, batch = moment(0.0, 10.0), moment(10.0, 20.0), moment(10.0, 40.0)
                run.arrival(image, image, scheduled, late=moment(0.0, 3.0), arm=arm)
                run.online(image, image, scheduled, online, arm=arm)
                run.batch(image, batch, arm=arm)
                whole[arm, "online", image] = online - scheduled
                whole[arm, "batch", image] = batch - scheduled
                for _ in range(rng.integers(0, 14)):
                    run.row(
                        *(Stage(str(rng.choice(STAGES))), moment(), moment()),
                        **{
                            "arm": arm,
                            "path": str(rng.choice([path, "nightly"])),
                            "galaxy": GALAXY,
                            "day": 0,
                        },
                        **{"image_signature": signature(image), "event_id": image},
                        **{"attempt": int(rng.integers(1, 3)), "pid": int(rng.integers(1, 3))},
                        outcome=str(rng.choice(["ok", "skipped", "retry"])),
                    )
        with open_ledger(run.write()) as ledger:
            ledger.add_parts()
            sums = ledger.execute(
                "SELECT arm, consumer, event_id, sum(ns) / 1e9 AS seconds, min(ns) AS least "
                "FROM wait_parts JOIN waits USING (wait) GROUP BY ALL"
            )
            checked = ledger.rows("parts_check")
    assert {(r["arm"], r["consumer"], r["event_id"]): r["seconds"] for r in sums} == pytest.approx(
        whole, abs=2e-9
    )
    assert all(row["least"] >= 0 for row in sums)
    assert [row["uneven"] for row in checked] == [0] * 4
