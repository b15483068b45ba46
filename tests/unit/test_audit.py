"""The audit's own judgement: what its comparisons find, and what they must not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.audit.evidence import Evidence, Finding, RuleFires
from bench.audit.execute import Row
from bench.audit.false_alarms import VirtualPairs
from bench.audit.plan import PLAN
from bench.audit.slowdown import Shift, SlowerBy
from bench.audit.tail import TailOfStop
from bench.commands.audit import audit as audit_command
from bench.results import write_result
from bench.selftest.queueing import departures
from bench.services.needs import EVERYTHING, KAFKA, METASTORE, OBJECT_STORE, servers_needed
from signals.errors import ConfigurationError
from tests.unit.synthetic_run import complete_run

SLOW = SlowerBy("inference", 0.02)


def shifts(**means: float) -> dict[str, Shift]:
    random = np.random.default_rng(4)
    return {name: Shift.of(mean + random.normal(0, 0.004, 120)) for name, mean in means.items()}


def test_a_slowdown_is_found_attributed_and_sized() -> None:
    assert SLOW.judge(shifts(queue=0.0, inference=0.02, write=0.0005)).found


@pytest.mark.parametrize(
    ("means", "why"),
    [
        ({"queue": 0.0, "inference": 0.0, "write": 0.0}, "nothing is slower"),
        ({"queue": 0.0, "inference": 0.0, "write": 0.02}, "another stage is"),
        ({"queue": 0.0, "inference": 0.02, "write": 0.02}, "another stage is as well"),
        ({"queue": 0.0, "inference": 0.03, "write": 0.0}, "it is slower by more"),
        ({"queue": 0.0, "write": 0.0}, "there is no such stage"),
    ],
)
def test_a_slowdown_that_is_not_the_planted_one_is_not_taken_for_it(
    means: dict[str, float], why: str
) -> None:
    assert not SLOW.judge(shifts(**means)).found, why


def test_one_pair_has_no_interval() -> None:
    assert not SLOW.judge({"inference": Shift.of([0.02])}).found


def test_the_predicted_tail_is_that_of_the_recursion() -> None:
    arrivals = np.arange(240) / 40
    tail = TailOfStop(0.01, after_seconds=20.5 / 40, stopped_seconds=2.0)
    latencies = departures(arrivals, 0.01, (20.5 / 40, 20.5 / 40 + 2)) - arrivals
    assert tail.predicted(arrivals)["p95_seconds"] == pytest.approx(np.quantile(latencies, 0.95))
    assert tail.predicted(arrivals)["max_seconds"] == pytest.approx(latencies.max())


def test_a_rule_fires_or_not(tmp_path: Path) -> None:
    run_dir = complete_run(tmp_path).write()
    result = write_result(run_dir)
    assert not RuleFires("no_lost_arrivals")(Evidence(run_dir, result)).found
    assert not RuleFires("no_such_rule")(Evidence(run_dir, result)).found
    for rule in result["validity"]["rules"]:
        rule["ok"] = False
    assert RuleFires("no_lost_arrivals")(Evidence(run_dir, result)).found


def test_every_rule_of_the_plan_exists(tmp_path: Path) -> None:
    run_dir = complete_run(tmp_path).write()
    rules = {rule["id"] for rule in write_result(run_dir)["validity"]["rules"]}
    wanted = {d.rule for item in PLAN for d in item.detectors if isinstance(d, RuleFires)}
    assert wanted <= rules


def test_a_row_is_right_where_the_detector_said_what_is_true() -> None:
    found, silent = Finding(True, ""), Finding(False, "")
    assert Row("i", "d", "x", found, expected=True).ok
    assert Row("control", "d", "x", silent, expected=False).ok
    assert not Row("i", "d", "x", silent, expected=True).ok  # a defect that was missed
    assert not Row("control", "d", "x", found, expected=False).ok  # a false alarm


def test_comparisons_of_the_same_alarm_no_more_than_nominal_and_of_the_slower_do() -> None:
    assert not VirtualPairs(pairs=100)().found
    assert VirtualPairs(pairs=20, slower=1.2)().found


def test_an_unknown_item_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="drops_one"):
        audit_command.main(["--only", "nonsense", "--list"], standalone_mode=False)


def test_a_run_starts_only_the_servers_that_its_arms_need() -> None:
    class Thin:
        services = frozenset({KAFKA})

    class Full:
        pass

    thin, full = Thin(), Full()
    assert servers_needed([thin]) == {KAFKA, METASTORE}  # type: ignore[list-item]
    assert servers_needed([thin, full]) == EVERYTHING  # type: ignore[list-item]
    assert OBJECT_STORE in EVERYTHING
