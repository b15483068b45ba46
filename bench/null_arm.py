"""An arm that takes every arrival and does nothing with it: what is left is the generator."""

from __future__ import annotations

from signals.architecture import MediaEvent, RunContext


class NullArm:
    """Implements :class:`signals.architecture.Pipeline`. Accepts and counts.

    Not an installed arm: neither consumer would ever see an image of it, so that a run of it could only be
    INVALID. ``lkbench generator`` measures with it; the arm that a run can use for the harness's own latency
    is ``reference``.
    """

    def __init__(self) -> None:
        self.accepted = 0

    def start(self, context: RunContext) -> None:
        """Nothing to bring up."""

    def submit(self, event: MediaEvent) -> None:  # noqa: ARG002
        """Count the arrival."""
        self.accepted += 1

    def end_day(self, day: int) -> None:
        """There is no partition to make visible."""

    def drain(self, timeout_seconds: float) -> None:
        """There is nothing to wait for."""

    def backlog(self) -> int:
        """Nothing is ever on its way."""
        return 0

    def stop(self) -> None:
        """Nothing to stop."""
