from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from scipy import stats

from bench.cli import cli
from bench.compare.comparison import MetricComparison, Verdict, compare, judge_times, noise_floor
from bench.compare.sides import StoredRun, find_side, tag_run
from bench.compare.statistics import ALPHA, estimate, replicates_needed
from bench.compare.texts import change_text, verdict_text
from bench.metrics import DEFINITIONS
from signals.errors import ConfigurationError, InvalidRun, UnlikeRuns
from tests.unit.synthetic_result import INFERENCE, side, synthetic_result, write_run

(METRIC,) = [
    MetricComparison("stage", "a stage", definition, 0.01, 0.01, 0, 0, Verdict.NOT_MEASURED)
    for definition in DEFINITIONS
    if definition.pattern == "{arm}.stage.{consumer}.{part}.p50_seconds"
]
SPREAD = 0.04  # of the logarithms of replicates of the same code


def draw(rng: np.random.Generator, n: int, seconds: float = 0.01) -> list[float]:
    return list(seconds * np.exp(rng.normal(0.0, SPREAD, n)))


def verdicts(n: int, slowdown: float, *, is_paired: bool, times: int, seed: int = 1) -> list[Verdict]:
    """The verdict on one stage, of many comparisons between runs whose true times are known."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(times):
        drift = np.exp(rng.normal(0.0, 0.1, n)) if is_paired else np.ones(n)
        before, after, again = (np.array(draw(rng, n)) * drift for _ in range(3))
        after *= slowdown
        judged = judge_times(METRIC, list(before), list(after), list(again), is_paired=is_paired, detect=0.1)
        found.append(judged.verdict)
    return found


@pytest.mark.parametrize(("n", "is_paired"), [(4, False), (6, False), (6, True), (10, False)])
def test_runs_of_the_same_code_differ_at_most_at_the_nominal_rate(n: int, is_paired: bool) -> None:
    rng = np.random.default_rng(n)
    times = 400
    alarms = 0
    for _ in range(times):
        before, after = (np.array(draw(rng, n)) for _ in range(2))
        effect = estimate(before, after, is_paired=is_paired, resamples=1)
        assert effect.p_value is not None
        alarms += effect.p_value < ALPHA
    assert stats.binomtest(alarms, times, ALPHA, alternative="greater").pvalue > 0.01
    assert alarms > 0  # a test that never speaks is no test


def test_a_whole_comparison_of_the_same_code_stays_quiet() -> None:
    found = verdicts(6, 1.0, is_paired=False, times=60)
    assert sum(v in (Verdict.WORSE, Verdict.BETTER) for v in found) <= 5  # 5 % of 60, and some luck


def test_a_slowdown_of_a_stage_by_a_tenth_is_found_with_the_replicates_it_says_it_needs() -> None:
    rng = np.random.default_rng(7)
    found, asked = 0, []
    times = 60
    for _ in range(times):
        pilot = np.array(draw(rng, 4)), np.array(draw(rng, 4, 0.011))
        needed = replicates_needed(*pilot, 0.10)
        assert needed is not None
        asked.append(needed)
        before, after = np.array(draw(rng, needed)), np.array(draw(rng, needed, 0.011))
        effect = estimate(before, after, is_paired=False, resamples=1)
        found += effect.p_value is not None and effect.p_value < ALPHA and effect.ratio > 1
    assert found / times >= 0.8
    assert np.median(asked) <= 12  # and does not ask for the moon


@pytest.mark.parametrize(("n", "is_paired"), [(8, False), (8, True)])
def test_the_verdict_on_a_planted_slowdown_is_worse(n: int, is_paired: bool) -> None:
    found = verdicts(n, 1.1, is_paired=is_paired, times=20)
    assert found.count(Verdict.WORSE) >= 14
    assert Verdict.BETTER not in found


def test_pairs_cancel_a_drift_that_hides_the_change_otherwise() -> None:
    assert verdicts(8, 1.1, is_paired=True, times=10).count(Verdict.WORSE) >= 7


def test_below_4_v_4_nothing_is_decided_and_it_says_what_it_takes() -> None:
    base, head = synthetic_result("a", [0.010, 0.0101, 0.0102]), synthetic_result("b", [0.02, 0.021, 0.022])
    metric = compare(side("a", base), side("b", head)).metrics[INFERENCE]
    assert metric.verdict is Verdict.NOT_DECIDABLE
    assert (metric.more_replicates or 0) >= 1
    assert "a test needs 4" in verdict_text(metric)
    assert change_text(metric).startswith("~ +")
    single = compare(side("a", synthetic_result("a", [0.01])), side("b", synthetic_result("b", [0.01])))
    assert single.metrics[INFERENCE].more_replicates is None  # one replicate shows no spread
    assert single.metrics["kappa.inferences"].verdict is Verdict.SAME  # counts need no replicates


def test_the_same_within_a_share_and_too_noisy_to_tell() -> None:
    quiet = [0.0100, 0.0101, 0.0099, 0.01005, 0.00995, 0.01002]
    noisy = [0.005, 0.02, 0.01, 0.012, 0.007, 0.015]
    same = compare(side("a", synthetic_result("a", quiet)), side("b", synthetic_result("b", quiet[::-1])))
    assert same.metrics[INFERENCE].verdict is Verdict.SAME
    assert 0 < (same.metrics[INFERENCE].within or 0) <= 0.02
    assert verdict_text(same.metrics[INFERENCE]).startswith("same within")
    unclear = compare(side("a", synthetic_result("a", noisy)), side("b", synthetic_result("b", noisy[::-1])))
    assert unclear.metrics[INFERENCE].verdict is Verdict.NOT_DECIDABLE
    assert (unclear.metrics[INFERENCE].more_replicates or 0) > 50


def test_a_change_inside_the_noise_floor_is_not_called_one() -> None:
    before = [0.01 + 0.00001 * n for n in range(6)]
    after = [value * 1.05 for value in before]
    arguments = side("a", synthetic_result("a", before)), side("b", synthetic_result("b", after))
    assert compare(*arguments).metrics[INFERENCE].verdict is Verdict.WORSE
    drifted = side("again", synthetic_result("c", [value * 1.08 for value in before]))
    metric = compare(*arguments, again=drifted).metrics[INFERENCE]
    assert metric.noise_floor == pytest.approx(0.08, rel=0.01)
    assert metric.verdict is Verdict.SAME
    assert noise_floor([1.0, 1.0], None) == pytest.approx(0.01)


def test_counts_are_compared_as_they_are() -> None:
    base, head = synthetic_result("a", [0.01]), synthetic_result("b", [0.01])
    for content in (head["arms"]["kappa"], head["arms"]["kappa"]["replicates"]["1"]):
        content["recomputed"]["inferences"] += 1
        content["completeness"]["signals"] += 1
        content["completeness"]["dead_letter_keys"] += 1
        content["retries"]["total"] = 3
    metrics = compare(side("a", base), side("b", head)).metrics
    assert metrics["kappa.inferences"].verdict is Verdict.WORSE
    assert metrics["kappa.signals"].verdict is Verdict.BETTER
    assert metrics["kappa.dead_letter_keys"].verdict is Verdict.DIFFERS
    assert metrics["kappa.retries"].verdict is Verdict.CONTEXT
    assert change_text(metrics["kappa.inferences"]) == "+1"
    assert metrics["kappa.gpu_hours"].verdict is Verdict.NOT_MEASURED
    assert metrics["kappa.gpu_hours"].reason == "no device is booked in GPU hours"


def test_the_bound_of_the_rank_test_agrees_with_the_test() -> None:
    rng = np.random.default_rng(3)
    for n in (4, 5, 7):
        for _ in range(50):
            before, after = np.array(draw(rng, n)), np.array(draw(rng, n, 0.0105))
            effect = estimate(before, after, is_paired=False, resamples=1)
            assert effect.bound is not None
            assert effect.p_value is not None
            assert (effect.p_value < ALPHA) == (not effect.bound[0] <= 1 <= effect.bound[1])


def test_ties_keep_the_test_exact() -> None:
    effect = estimate(np.array([1.0, 1, 1, 1, 1]), np.array([2.0, 2, 2, 2, 2]), is_paired=False)
    assert effect.p_value == pytest.approx(2 / math.comb(10, 5))
    assert estimate(np.ones(5), np.ones(5), is_paired=False).p_value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: r["provenance"].update(seed=2), "seed: 1 and 2"),
        (lambda r: r["provenance"].update(workload="trace"), "workload: mixed and trace"),
        (lambda r: r["provenance"].update(profile="quick"), "profile"),
        (lambda r: r["provenance"]["machine"].update(cpu="Other CPU"), "processor: Test CPU and Other CPU"),
        (lambda r: r["provenance"]["machine"].update(cores=64), "cores: 2 and 64"),
        (lambda r: r["provenance"]["model"].update(sha256="ef" * 32), "model"),
        (lambda r: r["provenance"].update(device="cuda"), "device: cpu and cuda"),
        (lambda r: r.update(day_seconds=30.0), "seconds per day"),
        (lambda r: r["arms"].pop("lambda"), "arms: lambda, kappa and kappa"),
    ],
)
def test_unlike_runs_are_refused_with_what_differs(spoil: Any, words: str) -> None:
    base, head = synthetic_result("a", [0.01]), synthetic_result("b", [0.01])
    spoil(head)
    with pytest.raises(UnlikeRuns, match=words):
        compare(side("a", base), side("b", head))


def test_an_invalid_run_is_refused_on_either_side_and_can_bear_no_tag(tmp_path: Path) -> None:
    good, bad = synthetic_result("a", [0.01]), synthetic_result("b", [0.01])
    bad["validity"]["valid"] = False
    bad["validity"]["verdict"] = "INVALID"
    bad["validity"]["rules"][0]["ok"] = False
    for sides in ((good, bad), (bad, good)):
        with pytest.raises(InvalidRun, match="completed"):
            compare(side("a", sides[0]), side("b", sides[1]))
    with pytest.raises(InvalidRun):
        tag_run(write_run(tmp_path, bad), "main")


def test_a_run_is_found_by_id_folder_file_tag_and_as_a_set(tmp_path: Path) -> None:
    first = write_run(tmp_path, synthetic_result("20260101-a", [0.01]))
    second = write_run(tmp_path, synthetic_result("20260102-b", [0.01]))
    tag_run(first, "main")
    assert [run.name for run in find_side("main", tmp_path).runs] == ["20260101-a"]
    tag_run(second, "main")  # a tag belongs to one run
    for reference in ("main", "latest", "20260102-b", str(second), str(second / "result.json")):
        assert [run.name for run in find_side(reference, tmp_path).runs] == ["20260102-b"], reference
    assert len(find_side(str(tmp_path), Path("elsewhere")).runs) == 2
    with pytest.raises(ConfigurationError, match="nor an id or a tag"):
        find_side("none", tmp_path)
    with pytest.raises(ConfigurationError, match="can't be a tag"):
        tag_run(first, "../x")


def test_what_is_no_result_is_refused_with_the_place(tmp_path: Path) -> None:
    result = synthetic_result("a", [0.01])
    for spoil, words in (
        (lambda r: r.update(schema_version=99), "schema version 99"),
        (lambda r: r["arms"]["kappa"].pop("latency"), "arms.kappa"),
        (lambda r: r.update(validity={"valid": "yes"}), "validity"),
    ):
        bad = orjson.loads(orjson.dumps(result))
        spoil(bad)
        path = tmp_path / "bad.json"
        path.write_bytes(orjson.dumps(bad))
        with pytest.raises(ConfigurationError, match=words):
            StoredRun.load(path)
    path.write_text("{")
    with pytest.raises(ConfigurationError, match="no JSON"):
        StoredRun.load(path)


def test_the_command_prints_a_table_markdown_or_json(tmp_path: Path) -> None:
    before = [0.01 + 0.00001 * n for n in range(6)]
    write_run(tmp_path, synthetic_result("base-1", before))
    write_run(tmp_path, synthetic_result("head-1", [2 * value for value in before]))

    def lkbench(*arguments: str) -> str:
        command = ["compare", "base-1", "head-1", "--output", str(tmp_path), *arguments]
        return str(CliRunner().invoke(cli, command, catch_exceptions=False).stdout)

    assert "worse" in lkbench()
    markdown = lkbench("--markdown")
    assert f"| `{INFERENCE}` | 10.0 ms | 20.0 ms | \\+100.0 %" in markdown, markdown
    assert "**worse**" in markdown
    metrics = {metric["id"]: metric for metric in orjson.loads(lkbench("--json"))["metrics"]}
    assert metrics[INFERENCE]["verdict"] == "worse"
    assert metrics[INFERENCE]["effect"]["ratio"] == pytest.approx(2.0, rel=0.01)
    assert len(lkbench("--all").splitlines()) > len(lkbench().splitlines())
