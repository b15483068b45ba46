"""How close two computations of the same signal values are: cosine, also of ranked classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

THRESHOLD = 0.9999
DISAGREE = -1.0  # what can't be compared: another shape, a value that is not finite, one of two is all zero


def cosines(left: Sequence[bytes], right: Sequence[bytes], compare: str) -> npt.NDArray[np.float64]:
    """Cosine of each pair of packed little-endian float32 values; float64 (N,).

    ``compare`` is ``cosine`` (values are vectors) or ``ranked`` (values are rows of class index and
    probability, compared as sparse vectors over all classes, so that the order of ties does not matter).
    """
    result = np.full(len(left), DISAGREE)
    lengths = np.array([len(a) if len(a) == len(b) else 0 for a, b in zip(left, right, strict=True)])
    for length in np.unique(lengths[lengths > 0]):
        at = np.flatnonzero(lengths == length)
        a, b = (_unpack(side, at) for side in (left, right))
        if a is None or b is None:
            continue
        if compare == "cosine":
            result[at] = _cosine(np.einsum("ij,ij->i", a, b), _squares(a), _squares(b))
        elif a.shape[1] % 2 == 0:
            result[at] = _ranked(a, b)
    return result


def _unpack(side: Sequence[bytes], at: npt.NDArray[np.intp]) -> npt.NDArray[np.float64] | None:
    packed = b"".join(side[i] for i in at)
    if len(packed) % (4 * len(at)):
        return None
    return np.frombuffer(packed, dtype="<f4").reshape(len(at), -1).astype(np.float64)


def _ranked(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    a, b = a.reshape(len(a), -1, 2), b.reshape(len(b), -1, 2)
    same_class = a[:, :, None, 0] == b[:, None, :, 0]
    dot = np.einsum("ij,ik,ijk->i", a[:, :, 1], b[:, :, 1], same_class)
    return _cosine(dot, _squares(a[:, :, 1]), _squares(b[:, :, 1]))


def _squares(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = np.einsum("ij,ij->i", vectors, vectors)
    return squares


def _cosine(dot: Any, left_squares: Any, right_squares: Any) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        cosine = dot / np.sqrt(left_squares * right_squares)
    cosine = np.where((left_squares == 0) & (right_squares == 0), 1.0, cosine)
    result: npt.NDArray[np.float64] = np.where(np.isfinite(cosine), cosine, DISAGREE)
    return result
