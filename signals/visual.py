"""The signals that ship with the project."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from signals.declaration import FloatArray, signal

TOP = 5


@signal(name="visual_embedding", version=1, model_output="embedding", compare="cosine")
def visual_embedding(embedding: FloatArray) -> FloatArray:
    """The model's pooled features as they are: (N, D) -> (N, D)."""
    return embedding


@signal(name="top5_classes", version=1, model_output="logits", compare="ranked")
def top5_classes(logits: FloatArray) -> FloatArray:
    """The five likeliest classes, best first: (N, classes) -> (N, 5, 2) of (class index, probability).

    Equal probabilities are ordered by class index, so that the same logits always give the same value.
    """
    best = _highest(logits, TOP)
    exponentials = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float64))
    value = np.empty((*best.shape, 2), np.float32)
    value[..., 0] = best
    chosen = exponentials[np.arange(len(best))[:, None], best]
    value[..., 1] = chosen / exponentials.sum(axis=1, keepdims=True)
    return value


def _highest(scores: FloatArray, count: int) -> npt.NDArray[np.intp]:
    """Column numbers of each row's ``count`` highest scores, best first, of equal ones the first."""
    found = np.empty((len(scores), min(count, scores.shape[1])), np.intp)
    for row, left in enumerate(scores.copy()):
        for place in range(found.shape[1]):  # a few passes over the row cost a fraction of sorting it
            found[row, place] = highest = left.argmax()
            left[highest] = -np.inf
    return found
