"""The audit's own judgement: what its comparisons find, and what they must not."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from bench.audit.evidence import CheckFails, Evidence, Finding, RuleFires
from bench.audit.execute import Auditor, Row
from bench.audit.false_alarms import REPLICATES, TOO_MANY, RealPair, VirtualPairs
from bench.audit.plan import PLAN, PlanItem
from bench.audit.slowdown import Shift, SlowerBy
from bench.audit.tail import TailOfStop
from bench.commands.audit import audit as audit_command
from bench.config import HarnessConfig
from bench.exit_codes import ExitCode
from bench.results import write_result
from bench.run import RunSettings
from bench.selftest.queueing import departures
from bench.services.needs import EVERYTHING, KAFKA, METASTORE, OBJECT_STORE, servers_needed
from signals.errors import ConfigurationError, ServiceError
from tests.unit.synthetic_run import complete_run

SLOW = SlowerBy("inference", 0.02)
UNABLE = (RuleFires("no_such_rule"), CheckFails("completeness"))  # where there is nothing to look at


class FailingRun:
    """Of whatever it is asked: its broker does not start."""

    def __init__(self, settings: RunSettings, *_: object) -> None:
        self.run_dir = settings.output / "run"
        self.run_dir.mkdir(parents=True)

    def execute(self) -> None:
        raise ServiceError("no broker")


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
    ],
)
def test_a_slowdown_that_is_not_the_planted_one_is_not_taken_for_it(
    means: dict[str, float], why: str
) -> None:
    assert not SLOW.judge(shifts(**means)).found, why


def test_a_stage_that_no_arm_has_is_no_sign_that_it_is_as_fast_as_ever() -> None:
    assert SLOW.judge(shifts(queue=0.0, write=0.0)).found is None


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
    assert RuleFires("no_such_rule")(Evidence(run_dir, result)).found is None
    assert CheckFails("no such check")(Evidence(run_dir, result)).found is None
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


@pytest.mark.parametrize("item", [item for item in PLAN if item.name in {"null", "drops_one"}])
def test_a_run_that_failed_finds_nothing_out(item: PlanItem, tmp_path: Path) -> None:
    auditor = Auditor(tmp_path, HarnessConfig(), lambda _: None)
    rows = auditor.rows_of(item, ServiceError("no broker"))
    assert {(row.finding.found, row.ok) for row in rows} == {(None, False)}
    without_ledger = Evidence(tmp_path, {"validity": {"rules": []}})
    assert [row.ok for row in auditor.rows_of(replace(item, detectors=UNABLE), without_ledger)] == [False] * 2


def test_an_audit_whose_runs_failed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.audit.execute.shared_servers", lambda *_: nullcontext(HarnessConfig()))
    monkeypatch.setattr("bench.audit.execute.Run", FailingRun)
    done = CliRunner().invoke(audit_command, ["--only", "null,drops_one", "--output", str(tmp_path)])
    assert done.exit_code == ExitCode.VERIFICATION_FAILED
    (content,) = tmp_path.glob("*/audit.json")
    found = [(row["finding"]["found"], row["ok"]) for row in orjson.loads(content.read_bytes())["rows"]]
    assert set(found) == {(None, False)}
    assert f"{len(found)} detectors could not tell" in done.output
    assert done.output.count("unknown") == len(found)


def test_comparisons_of_the_same_alarm_no_more_than_nominal_and_of_the_slower_do() -> None:
    assert not VirtualPairs(pairs=100)().found
    assert VirtualPairs(pairs=20, slower=1.2)().found


def correlated(random: np.random.Generator, slower: float = 1.0) -> list[list[list[float]]]:
    """Both sides of 20 metrics of identical arms, by replicate, that are correlated by 0.9."""
    shared, own = random.normal(size=(2, REPLICATES)), random.normal(size=(20, 2, REPLICATES))
    values = np.exp(0.05 * (np.sqrt(0.9) * shared + np.sqrt(0.1) * own))
    values[:, 1] *= slower
    return [list(map(list, pair)) for pair in values]


def test_metrics_that_move_together_raise_no_more_alarms_than_promised() -> None:
    random = np.random.default_rng(5)
    pairs = 400
    found = sum(bool(RealPair().judge(correlated(random)).found) for _ in range(pairs))
    assert found / pairs <= TOO_MANY + 3 * np.sqrt(TOO_MANY * (1 - TOO_MANY) / pairs)
    assert RealPair().judge(correlated(random, slower=1.5)).found
    assert RealPair().judge([]).found is None


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
