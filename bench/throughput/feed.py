"""What goes into one started arm."""

from __future__ import annotations

from bench.open_loop import Seconds
from bench.throughput.offer import offer_at, offer_backlog
from bench.throughput.stand import Stand, StartedArm

DRAIN_SECONDS = 1800.0


class Feed:
    """Numbers the arrivals of ``started``, so that each is a key of its own.

    Its methods return when all is done. They raise an error of the tree.
    """

    def __init__(self, stand: Stand, started: StartedArm) -> None:
        self._stand, self._started = stand, started
        self.offered = 0

    def submit(self, number: int, scheduled_ns: int, day: int = 0) -> None:
        """One arrival."""
        self._started.arm.submit(self._stand.event(number, scheduled_ns, day))

    def backlog(self, count: int, day: int) -> range:
        """``count`` arrivals at once. Returns their numbers."""
        numbers = range(self.offered, self.offered + count)
        offer_backlog(lambda number, at_ns: self.submit(number, at_ns, day), numbers)
        return self._done(numbers)

    def at(self, due_seconds: Seconds, day: int) -> range:
        """An arrival at each of ``due_seconds`` from now. Returns their numbers."""
        numbers = range(self.offered, self.offered + len(due_seconds))
        offer_at(lambda number, at_ns: self.submit(number, at_ns, day), numbers.start, due_seconds)
        return self._done(numbers)

    def _done(self, numbers: range) -> range:
        self.offered = numbers.stop
        self._started.arm.drain(DRAIN_SECONDS)
        return numbers
