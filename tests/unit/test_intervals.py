"""Percentiles of a run and their intervals, against scipy and against what is known in closed form."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from bench.database import connect
from bench.ledger_query import sql_text
from bench.results import compute_result
from tests.unit.synthetic_run import SyntheticRun

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def ask(sql: str) -> list[tuple[Any, ...]]:
    with connect() as connection:
        connection.execute(sql_text("percentiles"))
        return connection.execute(sql).fetchall()


def latencies(run_dir: Path, cycles: list[npt.NDArray[np.float64]], consumer: str) -> dict[str, Any]:
    """The figures of one consumer over cycles of known latencies, each cycle a replicate with one day."""
    run = SyntheticRun(run_dir, arms=("kappa",), replicates=len(cycles))
    for replicate, seconds in enumerate(cycles, start=1):
        run.day(replicate=replicate)
        for n, latency in enumerate(seconds):
            run.arrival(n, n, 0.0, replicate=replicate)
            if math.isfinite(latency):
                run.online(n, n, 0.0, float(latency), replicate=replicate)
                run.batch(n, float(latency), replicate=replicate)
    found: dict[str, Any] = compute_result(run.write())["arms"]["kappa"]["latency"][consumer]
    return found


def test_ranks_are_those_of_the_exact_binomial_interval() -> None:
    sizes = [1, 7, 44, 90, 459, 1000, 20_000]
    rows = ask(
        f"WITH sizes AS (SELECT n, p FROM (SELECT unnest({sizes}) AS n), "
        "(SELECT unnest([0.5, 0.9, 0.95, 0.99])::DOUBLE AS p)) FROM interval_ranks('sizes')"
    )
    assert len(rows) == 4 * len(sizes)
    for n, p, low_rank, high_rank in rows:
        interval = stats.quantile_test(np.arange(1, n + 1), p=p).confidence_interval(0.95)
        assert [low_rank or math.nan, high_rank or math.nan] == pytest.approx(
            [interval.low, interval.high], nan_ok=True
        )


@pytest.mark.parametrize(("p", "needed"), [(0.5, 7), (0.9, 44), (0.95, 90), (0.99, 459)])
def test_a_percentile_needs_as_many_samples_as_the_binomial_says(p: float, needed: int) -> None:
    assert ask(f"SELECT samples_needed({p})") == [(needed,)]
    assert stats.binom.pmf(needed, needed, p) <= 0.01 < stats.binom.pmf(needed - 1, needed - 1, p)


def test_student_s_t_is_scipy_s() -> None:
    for df, t in ask("SELECT df, t975(df) FROM (SELECT unnest(range(3, 200)) AS df)"):
        assert t == pytest.approx(stats.t.ppf(0.975, df), rel=0.002)


def test_a_single_run_s_intervals_are_order_statistics(tmp_path: Path) -> None:
    seconds = np.round(np.random.default_rng(3).lognormal(-3, 0.6, 500), 6)
    found = latencies(tmp_path / "run-1", [seconds], "online")
    assert (found["n"], found["cycles"], found["interval_unit"]) == (500, 1, "image")
    for name, p in PERCENTILES.items():
        interval = stats.quantile_test(seconds, p=p).confidence_interval(0.95)
        assert found[f"{name}_low_seconds"] == pytest.approx(interval.low, abs=1e-8)
        assert found[f"{name}_high_seconds"] == pytest.approx(interval.high, abs=1e-8)


def test_one_night_gives_the_batch_consumer_percentiles_but_no_interval(tmp_path: Path) -> None:
    found = latencies(tmp_path / "run-1", [np.linspace(20.0, 30.0, 100)], "batch")
    assert found["p50_seconds"] == pytest.approx(25.0)
    assert found["p50_low_seconds"] is found["p50_high_seconds"] is None
    assert found["reasons"]["p50_low_seconds"].endswith("needs 4 nights, has 1")
    assert found["interval_unit"] is None


def test_what_a_sample_does_not_carry_has_neither_figure_nor_interval(tmp_path: Path) -> None:
    found = latencies(tmp_path / "run-1", [np.linspace(1.0, 2.0, 60)], "online")
    assert found["p90_low_seconds"] is not None
    assert found["p95_seconds"] is found["p95_low_seconds"] is found["p95_high_seconds"] is None
    assert found["reasons"]["p95_high_seconds"] == "needs 90 samples, has 60"


def test_an_interval_that_reaches_into_the_lost_has_no_upper_end(tmp_path: Path) -> None:
    seconds = np.append(np.linspace(1.0, 2.0, 97), [math.inf] * 3)
    found = latencies(tmp_path / "run-1", [seconds], "online")
    assert found["p95_seconds"] is not None
    assert found["p95_low_seconds"] is not None
    assert found["p95_high_seconds"] is None
    assert found["reasons"]["p95_high_seconds"] == "reaches to the 3 of 100 that never became available"


def woodruff(cycles: list[npt.NDArray[np.float64]], p: float) -> tuple[float, float]:
    """The same interval, from the t interval of the cycles' shares; for cycles of one size."""
    pooled = np.sort(np.concatenate(cycles))
    shares = np.array([np.mean(cycle <= np.quantile(pooled, p)) for cycle in cycles])
    margin = stats.t.ppf(0.975, len(cycles) - 1) * shares.std(ddof=1) / math.sqrt(len(cycles))
    low, high = (math.ceil(len(pooled) * (p + sign * margin)) for sign in (-1, 1))
    return pooled[low - 1], pooled[high - 1] if high <= len(pooled) else math.nan


@pytest.mark.parametrize("consumer", ["online", "batch"])
def test_with_enough_nights_the_night_is_the_sampling_unit(tmp_path: Path, consumer: str) -> None:
    rng = np.random.default_rng(11)
    cycles = [np.round(rng.uniform(0.0, 20.0, 50) + rng.normal(25.0, 1.0), 6) for _ in range(6)]
    found = latencies(tmp_path / "run-1", cycles, consumer)
    assert (found["cycles"], found["interval_unit"]) == (6, "cycle")
    for name in ("p50", "p90"):
        low, high = woodruff(cycles, PERCENTILES[name])
        assert found[f"{name}_low_seconds"] == pytest.approx(low, abs=0.05)
        assert found[f"{name}_high_seconds"] == pytest.approx(high, abs=0.05)
        assert low <= found[f"{name}_seconds"] <= high


def test_nights_that_differ_too_much_bound_no_high_percentile(tmp_path: Path) -> None:
    cycles = [np.linspace(0.0, 10.0, 30) + shift for shift in (0.0, 0.0, 0.0, 100.0)]
    found = latencies(tmp_path / "run-1", cycles, "batch")
    assert found["p90_seconds"] is not None
    assert found["p90_high_seconds"] is None
    assert found["reasons"]["p90_high_seconds"] == "4 nights differ too much to bound it"
