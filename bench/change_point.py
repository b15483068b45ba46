"""Where a series of figures shifted, if it did: Pettitt's rank test for one change point.

A. N. Pettitt, "A non-parametric approach to the change-point problem", Applied Statistics 28 (1979),
126-135. It assumes no distribution, but that the values of a series without a change are exchangeable; a
machine that slowly drifts breaks that, which is why a found change is advice.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

MIN_VALUES = 8
_MAX_EXACT = 100  # values; beyond that Pettitt's own approximation, which errs on the quiet side
Counts = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Split:
    """The likeliest place of a shift: ``position`` is the first value after it. ``p_value`` is two-sided."""

    position: int
    p_value: float


def best_split(values: Sequence[float]) -> Split | None:
    """The split with the largest |U_t|, ``U_t = 2 (R_1 + … + R_t) - t (n + 1)`` with R the (mid-)ranks.

    The p value sums ``P(|U_t| >= max |U|)`` over all t from the exact distribution of rank sums: an upper
    bound that is close where it matters, in the tail, and on the quiet side with ties. None with fewer than
    8 values, or where all are equal.
    """
    n = len(values)
    if n < MIN_VALUES or len(set(values)) == 1:
        return None
    splits = np.arange(1, n)
    u = 2 * np.cumsum(stats.rankdata(values))[:-1] - splits * (n + 1)
    position = int(np.argmax(np.abs(u)))
    largest = float(np.abs(u[position]))
    if n > _MAX_EXACT:
        p_value = 2 * math.exp(-6 * largest**2 / (n**3 + n**2))
    else:
        counts = _rank_sum_counts(n)
        null = 2 * np.arange(counts.shape[1]) - splits[:, np.newaxis] * (n + 1)
        is_as_far = np.abs(null) >= largest - 1e-9
        p_value = float(np.sum(np.sum(counts[1:n] * is_as_far, axis=1) / np.sum(counts[1:n], axis=1)))
    return Split(position + 1, min(1.0, p_value))


def fewest_values(tests: int, alpha: float) -> int:
    """The shortest series in which a clean shift in the middle passes ``alpha`` corrected for ``tests``."""
    n = MIN_VALUES
    while 2 / math.comb(n, n // 2) * tests >= alpha:
        n += 1
    return n


@functools.cache
def _rank_sum_counts(n: int) -> Counts:
    """``[t, s]``: how many sets of ``t`` of the ranks 1 to ``n`` sum to ``s``."""
    counts = np.zeros((n + 1, n * (n + 1) // 2 + 1))
    counts[0, 0] = 1.0
    for rank in range(1, n + 1):
        counts[1:, rank:] += counts[:-1, :-rank].copy()
    return counts
