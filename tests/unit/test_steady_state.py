"""The trend test against series whose truth is known: how often it cries wolf, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from bench.statistics.steady_state import FALSE_ALARMS, judge_series, steady_state

Floats = npt.NDArray[np.float64]
Make = Callable[[np.random.Generator], Floats]
N = 500
SERIES = 8  # of a run: four replicates of two arms
ROUNDS = 150


def lognormal(rng: np.random.Generator) -> Floats:
    return rng.lognormal(-3.0, 0.5, N)


def correlated(rng: np.random.Generator) -> Floats:
    """Neighbours resemble each other: an AR(1) process with coefficient 0.7, as logarithms."""
    noise, log = rng.normal(0.0, 1.0, N), np.zeros(N)
    for i in range(1, N):
        log[i] = 0.7 * log[i - 1] + noise[i] * np.sqrt(1 - 0.7**2)
    return np.exp(0.5 * log)


def queue(rng: np.random.Generator, load: float) -> Floats:
    """Waits and service of an M/D/1 queue, by Lindley's recursion."""
    gaps, wait = rng.exponential(1 / load, N), np.zeros(N)
    for i in range(1, N):
        wait[i] = max(0.0, wait[i - 1] + 1.0 - gaps[i])
    return wait + 1.0


def one_busy_noon(rng: np.random.Generator) -> Floats:
    """Latency that rises and falls again with the load of a day."""
    return lognormal(rng) * (1.0 + 2.0 * np.sin(np.pi * np.arange(N) / N))


def alarms(make: Make) -> float:
    found = 0
    for seed in range(ROUNDS):
        medians = [float(np.median(b)) for b in np.array_split(make(np.random.default_rng(seed)), 20)]
        found += judge_series(medians, N, FALSE_ALARMS / SERIES)["is_steady"] is False
    return found / ROUNDS


@pytest.mark.parametrize(
    "make",
    [lognormal, correlated, lambda rng: queue(rng, 0.6), one_busy_noon],
    ids=["lognormal", "correlated", "queue", "one_busy_noon"],
)
def test_steady_series_raise_hardly_any_alarm(make: Make) -> None:
    # One series in 800 by design; the bound is what 150 rounds of that can show by chance.
    assert alarms(make) <= stats.binom.ppf(0.999, ROUNDS, FALSE_ALARMS / SERIES) / ROUNDS


@pytest.mark.parametrize(
    ("make", "power"),
    [
        (lambda rng: lognormal(rng) * np.linspace(1.0, 2.0, N), 0.9),
        (lambda rng: lognormal(rng) * np.linspace(2.0, 1.0, N), 0.9),
        (lambda rng: queue(rng, 1.2), 0.95),  # more comes in than can be served
    ],
    ids=["grows", "falls", "overload"],
)
def test_a_drift_is_found(make: Make, power: float) -> None:
    assert alarms(make) >= power


def test_a_drift_that_does_not_matter_is_none() -> None:
    medians = list(np.linspace(1.0, 1.1, 20))
    verdict = judge_series(medians, N, 0.01)
    assert verdict["p_value"] < 1e-9
    assert verdict["growth_share"] == pytest.approx(0.1 / 1.05)
    assert verdict["is_steady"] is True


def test_what_can_not_be_judged_says_why() -> None:
    assert judge_series([1.0] * 20, 40, 0.01)["reason"] == "needs 100 arrivals, has 40"
    assert judge_series([1.0] * 20, N, 0.01)["is_steady"] is True
    assert judge_series([1.0] * 19 + [float("inf")], N, 0.01)["is_steady"] is False


def test_every_replicate_of_every_arm_is_a_series() -> None:
    rows: list[dict[str, Any]] = [
        {"arm": arm, "replicate": r, "arrivals": N, "median_seconds": 1.0 + (arm == "b") * batch}
        for arm in ("a", "b")
        for r in (1, 2)
        for batch in range(20)
    ]
    found = steady_state(rows)
    assert [(s["replicate"], s["is_steady"]) for s in found["a"]] == [(1, True), (2, True)]
    assert [(s["replicate"], s["is_steady"]) for s in found["b"]] == [(1, False), (2, False)]
