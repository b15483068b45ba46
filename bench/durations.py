"""How long something took, for people: three significant digits in the unit that fits."""

from __future__ import annotations


def duration_text(seconds: float) -> str:
    """``0.0123`` -> ``12.3 ms``, ``4000`` -> ``66.7 min``, ``86400`` -> ``24.0 h``."""
    size = abs(seconds)
    if size < 0.9995:
        return f"{_digits(seconds * 1000)} ms"
    if size < 120:
        return f"{_digits(seconds)} s"
    if size < 7200:
        return f"{_digits(seconds / 60)} min"
    return f"{_digits(seconds / 3600)} h"


def interval_text(low_seconds: float, high_seconds: float) -> str:
    """Both ends, the unit named once where they share it: ``48.1-55.0 ms``, ``990 ms-1.20 s``."""
    low, high = duration_text(low_seconds), duration_text(high_seconds)
    return f"{low.split()[0]}-{high}" if low.split()[1] == high.split()[1] else f"{low}-{high}"


def _digits(value: float) -> str:
    size = abs(value)
    decimals = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{value:.{decimals}f}"
