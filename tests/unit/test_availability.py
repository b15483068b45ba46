from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.ledger_query import open_ledger
from bench.statistics.availability import MIN_CYCLES, Curve, curves_of, cycle_band, kaplan_meier
from tests.unit.synthetic_run import SyntheticRun, complete_run


def curves_of_run(run: SyntheticRun) -> dict[tuple[str, str], Curve]:
    with open_ledger(run.write()) as ledger:
        return {(curve.arm, curve.consumer): curve for curve in curves_of(ledger)}


def test_a_hand_computed_kaplan_meier_estimate() -> None:
    # 6 images; at 1 s one of 6 is served, at 2 s one of the 5 left (one is lost from sight), at 4 s one of 3.
    seconds = np.array([1.0, 2.0, 2.0, 4.0, 9.0, 9.0])
    is_censored = np.array([False, False, True, False, True, True])
    at, share, low, high = kaplan_meier(seconds, is_censored)
    assert at.tolist() == [1.0, 2.0, 4.0]
    assert share == pytest.approx([1 - 5 / 6, 1 - 5 / 6 * 4 / 5, 1 - 5 / 6 * 4 / 5 * 2 / 3])
    assert (low <= share).all()
    assert (share <= high).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=200))
def test_without_censoring_it_is_the_empirical_distribution(values: list[int]) -> None:
    seconds = np.array(values, dtype=np.float64)
    at, share, low, high = kaplan_meier(seconds, np.zeros(len(values), dtype=bool))
    assert share == pytest.approx(stats.ecdf(seconds).cdf.evaluate(at))
    assert (np.diff(low) >= 0).all()
    assert (low <= share + 1e-12).all()
    assert (high >= share - 1e-12).all()


def test_the_band_of_equal_cycles_is_the_t_interval_of_their_shares() -> None:
    seconds = np.array([1.0, 3.0, 1.0, 1.0, 3.0, 3.0, 1.0, 3.0])
    cycle = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    shares = np.array([0.5, 1.0, 0.0, 0.5])
    low, high = cycle_band(np.array([2.0]), np.array([0.5]), seconds, cycle)
    expected = stats.ttest_1samp(shares, 0.0).confidence_interval(0.95)
    assert low[0] == pytest.approx(max(0.0, expected.low))
    assert high[0] == pytest.approx(min(1.0, expected.high))


def test_the_band_of_cycles_covers_what_images_taken_for_independent_do_not() -> None:
    """Nights that differ by 1 s: a band of 95 % from 6 of them holds the true median nearly as often."""
    rng = np.random.default_rng(5)
    true_median, covered, naive = 35.0, 0, 0
    for _ in range(300):
        night = np.repeat(rng.normal(25.0, 1.0, 6), 60)
        seconds = night + rng.uniform(0.0, 20.0, 360)
        share = np.array([np.mean(seconds <= true_median)])
        low, high = cycle_band(np.array([true_median]), share, seconds, np.repeat(np.arange(6), 60))
        covered += int(low[0] <= 0.5 <= high[0])
        naive += int(abs(share[0] - 0.5) <= 1.96 * math.sqrt(0.25 / 360))
    assert covered / 300 >= 0.92
    assert naive < covered


def test_curves_of_a_run_keep_lost_images_and_say_why_there_is_no_band(tmp_path: Path) -> None:
    run = complete_run(tmp_path / "run-1")
    run.arrival(900, 900, 1.0, arm="kappa")  # never served
    curves = curves_of_run(run)
    assert set(curves) == {(arm, c) for arm in ("lambda", "kappa") for c in ("online", "batch")}
    lost = curves["kappa", "online"]
    assert lost.censored == 1
    assert lost.share[-1] == pytest.approx(39 / 40)
    assert lost.high is not None
    assert curves["lambda", "online"].share[-1] == 1.0
    batch = curves["lambda", "batch"]
    assert batch.low is None
    assert batch.high is None
    assert batch.band_reason == f"images of one night share its fate: needs {MIN_CYCLES} nights, has 1"


def test_with_enough_nights_the_batch_curve_has_a_band(tmp_path: Path) -> None:
    run = SyntheticRun(tmp_path / "run-1", arms=("kappa",), replicates=MIN_CYCLES)
    for replicate in range(1, MIN_CYCLES + 1):
        run.day(replicate=replicate)
        for n in range(5):
            run.arrival(n, n, float(n), replicate=replicate)
            run.batch(n, 14.0 + 0.3 * replicate, replicate=replicate)
    batch = curves_of_run(run)["kappa", "batch"]
    assert batch.low is not None
    assert batch.high is not None
    assert len(batch.low) == len(batch.seconds) == len(batch.share)
    assert all(
        low <= share <= high for low, share, high in zip(batch.low, batch.share, batch.high, strict=True)
    )
