from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import distance

from bench.vectors import DISAGREE, THRESHOLD, cosines

FLOATS = st.floats(-100, 100, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)


def packed(values: object) -> bytes:
    return np.asarray(values, dtype="<f4").tobytes()


@given(hnp.arrays(np.float32, (2, 12), elements=FLOATS))
def test_cosine_matches_scipy(pair: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    left, right = pair
    (found,) = cosines([packed(left)], [packed(right)], "cosine")
    if not left.any() and not right.any():
        assert found == 1.0
    elif not left.any() or not right.any():
        assert found == DISAGREE
    else:
        assert found == pytest.approx(1 - distance.cosine(left.astype(float), right.astype(float)), abs=1e-9)


def test_ranked_values_are_compared_as_sparse_vectors() -> None:
    value = [[3, 0.5], [9, 0.25], [7, 0.25]]
    tie_swapped = [[3, 0.5], [7, 0.25], [9, 0.25]]
    other_class = [[4, 0.5], [9, 0.25], [7, 0.25]]
    a, b, c = (packed(v) for v in (value, tie_swapped, other_class))
    same, swapped, other = cosines([a, a, a], [a, b, c], "ranked")
    assert same == pytest.approx(1.0)
    assert swapped == pytest.approx(1.0)
    assert other == pytest.approx(0.125 / 0.375)
    # As plain vectors the class indices would drown the probabilities.
    assert cosines([a], [packed([[3, 0.1], [9, 0.8], [7, 0.1]])], "cosine")[0] > 0.99
    assert cosines([a], [packed([[3, 0.1], [9, 0.8], [7, 0.1]])], "ranked")[0] < THRESHOLD


@pytest.mark.parametrize(
    "right",
    [packed([1.0, 2.0]), b"", packed([np.nan, 2, 3]), packed([np.inf, 2, 3]), b"\x00" * 7],
)
def test_what_can_not_be_compared_disagrees(right: bytes) -> None:
    good = packed([1.0, 2.0, 3.0])
    assert list(cosines([good, good], [right, good], "cosine")) == [DISAGREE, pytest.approx(1.0)]
    assert cosines([right], [right], "cosine")[0] in (DISAGREE, pytest.approx(1.0))
