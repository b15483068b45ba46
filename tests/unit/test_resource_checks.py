"""Counts against independent sources: agreement, disagreement, and sources that can't be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from bench.resources.checks import CrossCheck, cross_checks
from bench.resources.probe import readings_path
from bench.resources.sources import Readings
from bench.verify import verify_run
from tests.unit.test_run_cost import priced_run

ABSENT = dict.fromkeys(("process_tree", "cgroup", "kafka_disk"), "FileNotFoundError: none")
# What counted_run counts for Lambda, as the sources would say it.
SOURCES: dict[str, dict[str, float]] = {
    "kernel": {"children_cpu_seconds": 75.0},
    "s3proxy": {"get": 81, "put": 0, "list": 0},
    "kafka": {"messages": 0},
    "postgres": {"inserted": 41, "updated": 0, "deleted": 0},
}


def checks(run_dir: Path, **changed: dict[str, float]) -> dict[str, CrossCheck]:
    path = readings_path(run_dir, "lambda", 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"sources": {**SOURCES, **changed}, "absent": ABSENT}
    path.write_bytes(orjson.dumps(content))
    return {check.name: check for check in cross_checks(run_dir, "lambda", 1)}


def test_sources_that_agree(tmp_path: Path) -> None:
    found = checks(priced_run(tmp_path))
    assert all(check.ok is not False for check in found.values()), found
    assert "source says 75.0 s" in found["CPU of all processes, by the kernel's own sum"].detail
    assert found["cgroup"].ok is None
    assert "not compared: FileNotFoundError" in found["cgroup"].detail


def test_a_difference_beyond_two_percent_fails(tmp_path: Path) -> None:
    run_dir = priced_run(tmp_path)
    kernel = "CPU of all processes, by the kernel's own sum"
    assert checks(run_dir, kernel={"children_cpu_seconds": 76.4})[kernel].ok
    assert checks(run_dir, kernel={"children_cpu_seconds": 77.0})[kernel].ok is False
    gets = "S3 GET requests, by S3Proxy's log"
    assert checks(run_dir, s3proxy={"get": 90, "put": 0, "list": 0})[gets].ok is False
    failed = [check for check in verify_run(run_dir) if not check.ok]
    assert [check.name for check in failed if "S3 GET" in check.name] == [f"lambda r1, {gets}"]


def test_a_control_group_may_hold_more_but_never_less(tmp_path: Path) -> None:
    run_dir = priced_run(tmp_path)
    name = "CPU of all processes, by the control group's clock"
    busy = checks(run_dir, cgroup={"cpu_seconds": 200.0})[name]
    assert busy.ok
    assert "123.0 s were taken outside this run" in busy.detail
    assert checks(run_dir, cgroup={"cpu_seconds": 50.0})[name].ok is False


def test_a_run_without_readings_says_so(tmp_path: Path) -> None:
    (found,) = cross_checks(priced_run(tmp_path), "kappa", 1)
    assert found.ok is None


def test_readings_are_differences() -> None:
    first = Readings({"kafka": {"messages": 5.0}}, {})
    last = Readings({"kafka": {"messages": 12.0}, "postgres": {"inserted": 3.0}}, {"cgroup": "why"})
    assert last.since(first) == {
        "sources": {"kafka": {"messages": 7.0}, "postgres": {"inserted": 3.0}},
        "absent": {"cgroup": "why"},
    }
