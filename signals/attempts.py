"""What follows a failed attempt at an image: alike in both arms, so neither is compared by its patience."""

from __future__ import annotations

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 8.0
ATTEMPTS_EXHAUSTED = "attempts_exhausted"  # the reason in a dead letter after the last
WORKERS_DISAPPEARED = "its workers disappeared"  # every attempt ended without a word


def retry_seconds(attempt: int) -> float:
    """How long to wait after failed attempt number ``attempt`` (from 1): twice as long after each."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(attempt - 1, 10), LONGEST_RETRY_SECONDS)
