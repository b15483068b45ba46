"""The signals that ship with the project."""

from __future__ import annotations

import numpy as np

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
    shifted = np.exp((logits - logits.max(axis=1, keepdims=True)).astype(np.float64))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :TOP]
    chosen = np.take_along_axis(probabilities, best, axis=1)
    return np.stack([best.astype(np.float32), chosen.astype(np.float32)], axis=-1)
