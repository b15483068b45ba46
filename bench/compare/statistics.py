"""Two small samples of a time: how much longer it takes, how sure that is, how many replicates it would take.

Effects are ratios, head over base, computed on logarithms: times are skewed, and 10 % is 10 % whatever the
unit. Nothing here assumes a distribution except :func:`replicates_needed`, which plans and decides nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

ALPHA = 0.05
POWER = 0.8
MIN_REPLICATES = 4  # at 3 v 3 the smallest two-sided p of an exact rank test is 0.10
MIN_PAIRS = 6  # with 5 pairs the smallest p of an exact sign-flip test is 0.0625
BOOTSTRAP_RESAMPLES = 1_000
MAX_REPLICATES = 10_000
_SEED = 20_201
_MAX_EXACT = 20_000  # arrangements that are enumerated; beyond that as many are drawn
_PILOT_CONFIDENCE = 0.8
Sample = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effect:
    """Head over base. All are ratios: 1.1 means that head takes 10 % longer.

    ``interval`` is a 95 % bootstrap interval. ``bound`` is the 95 % interval that belongs to the exact rank
    test (Hodges and Lehmann 1963): with few replicates wider than the bootstrap's, and it keeps its promise;
    so it is what "the same within x %" rests on. Both are None below 4 v 4.
    """

    ratio: float
    interval: tuple[float, float] | None
    bound: tuple[float, float] | None
    p_value: float | None
    test: str


def estimate(base: Sample, head: Sample, *, is_paired: bool, resamples: int = BOOTSTRAP_RESAMPLES) -> Effect:
    """The effect between two samples of values above 0.

    Paired (``base[i]`` ran next to ``head[i]``) from 6 pairs on: the median of the Walsh averages of the log
    ratios and an exact sign-flip test. Else the Hodges-Lehmann shift between the samples and the exact
    Mann-Whitney test. Which of both it is depends on the design, never on the values.
    """
    before, after = np.log(base), np.log(head)
    if is_paired and len(before) == len(after) >= MIN_PAIRS:
        changes = after - before
        walsh = _walsh(changes[np.newaxis])[0]
        draws = np.random.default_rng(_SEED).integers(0, len(changes), (resamples, len(changes)))
        medians = np.median(_walsh(changes[draws]), axis=1)
        p_value, test = _sign_flip_p(changes), "sign flip, exact"
        bound = _ordered_bound(walsh, _signed_rank_counts(len(changes)))
    else:
        shifts = np.subtract.outer(after, before).ravel()
        walsh = shifts
        if min(len(before), len(after)) < MIN_REPLICATES:
            return Effect(math.exp(float(np.median(shifts))), None, None, None, "none below 4 v 4")
        rng = np.random.default_rng(_SEED)
        drawn = [side[rng.integers(0, len(side), (resamples, len(side)))] for side in (before, after)]
        medians = np.median(drawn[1][:, :, None] - drawn[0][:, None, :], axis=(1, 2))
        p_value, test = _rank_p(before, after), "Mann-Whitney, exact"
        bound = _ordered_bound(shifts, _rank_sum_counts(len(before), len(after)))
    low, high = np.quantile(medians, [ALPHA / 2, 1 - ALPHA / 2])
    return Effect(
        ratio=math.exp(float(np.median(walsh))),
        interval=(math.exp(low), math.exp(high)),
        bound=bound,
        p_value=p_value,
        test=test,
    )


def replicates_needed(base: Sample, head: Sample, detect: float) -> int | None:
    """Replicates per side that find a change by the share ``detect`` (0.1: 10 %) 8 times in 10.

    From the spread within both sides, of which the upper 80 % confidence limit is taken: a few replicates
    may show less spread than there is (Browne 1995, "On the use of a pilot sample for sample size
    determination").
    The rank test needs 1 / 0.955 of a t-test's sample. None where one replicate a side shows no spread.
    """
    degrees = len(base) + len(head) - 2
    if degrees < 1:
        return None
    squares = sum(float(np.sum((np.log(side) - np.log(side).mean()) ** 2)) for side in (base, head))
    variance = squares / stats.chi2.ppf(1 - _PILOT_CONFIDENCE, degrees)
    quantiles = special.ndtri(1 - ALPHA / 2) + special.ndtri(POWER)
    # With few degrees of freedom the t distribution asks for about one more (Guenther 1981).
    needed = float(2 * quantiles**2 * variance / math.log1p(detect) ** 2 / 0.955 + quantiles**2 / 8)
    return min(MAX_REPLICATES, max(MIN_REPLICATES, math.ceil(needed)))


def _rank_p(base: Sample, head: Sample) -> float:
    if len(np.unique(np.concatenate([base, head]))) == len(base) + len(head):
        return float(stats.mannwhitneyu(base, head, method="exact").pvalue)
    ranks = stats.rankdata(np.concatenate([base, head]))  # ties: the same test on mid-ranks

    def difference(left: Sample, right: Sample, axis: int = -1) -> Sample:
        return np.asarray(np.mean(left, axis=axis) - np.mean(right, axis=axis))

    found = stats.permutation_test(
        (ranks[: len(base)], ranks[len(base) :]),
        difference,
        vectorized=True,
        n_resamples=_MAX_EXACT,
        rng=np.random.default_rng(_SEED),
    )
    return float(found.pvalue)


def _sign_flip_p(changes: Sample) -> float:
    def mean(values: Sample, axis: int = -1) -> Sample:
        return np.asarray(np.mean(values, axis=axis))

    found = stats.permutation_test(
        (changes,),
        mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_MAX_EXACT,
        rng=np.random.default_rng(_SEED),
    )
    return float(found.pvalue)


def _walsh(changes: Sample) -> Sample:
    """Means of all pairs of columns, each with itself, too."""
    left, right = np.triu_indices(changes.shape[1])
    return np.asarray((changes[:, left] + changes[:, right]) / 2)


def _ordered_bound(values: Sample, counts: list[int]) -> tuple[float, float] | None:
    """Ratio between the ordered values that a rank test with this null distribution can't reject."""
    total, below = sum(counts), 0
    rejected = 0
    while (below + counts[rejected]) / total <= ALPHA / 2:
        below += counts[rejected]
        rejected += 1
    if rejected == 0:
        return None
    ordered = np.sort(values)
    return math.exp(float(ordered[rejected - 1])), math.exp(float(ordered[-rejected]))


def _rank_sum_counts(n: int, m: int) -> list[int]:
    """How many arrangements give each value of Mann-Whitney's U: coefficients of a Gaussian binomial."""
    counts = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        for j in range(n * m, m + i - 1, -1):
            counts[j] -= counts[j - m - i]
        for j in range(i, n * m + 1):
            counts[j] += counts[j - i]
    return counts


def _signed_rank_counts(n: int) -> list[int]:
    """How many sign patterns give each value of the signed-rank statistic."""
    counts = [1] + [0] * (n * (n + 1) // 2)
    for rank in range(1, n + 1):
        for value in range(len(counts) - 1, rank - 1, -1):
            counts[value] += counts[value - rank]
    return counts
