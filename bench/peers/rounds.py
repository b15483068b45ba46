"""All systems, round after round, and what becomes of one that fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.peers.figures import SystemFigures
from bench.peers.task import PEERS
from bench.throughput.stand import Progress
from signals.errors import LkbenchError

Observe = Callable[[str, int], SystemFigures]  # name of the system, number of the round from 0
_PEERS = frozenset(peer.name for peer in PEERS)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a command has found so far. ``failures``: what went wrong on the way, a line each."""

    found: list[SystemFigures] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def measure(self, observe: Observe, systems: Sequence[str], rounds: int, note: Progress) -> None:
        """``rounds`` rounds of all ``systems``, every other one in the opposite order: a drift falls on all
        alike.

        A peer that fails is measured once more in its round: that it crashes now and then is its own affair,
        and is told. What fails for good does not keep the others from being measured; its error is raised in
        the end.
        """
        failed: LkbenchError | None = None
        for number in range(rounds):
            for name in systems if number % 2 == 0 else reversed(systems):
                note(f"round {number + 1} of {rounds}: {name}")
                error = self._try(observe, name, number, note)
                if error is not None and name in _PEERS:
                    note(f"{name} once more")
                    error = self._try(observe, name, number, note)
                failed = error or failed
        if failed is not None:
            raise failed

    def _try(self, observe: Observe, name: str, number: int, note: Progress) -> LkbenchError | None:
        try:
            system = observe(name, number)
        except LkbenchError as error:
            note(f"{name} failed: {error}")
            self.failures.append(f"{name}, round {number + 1}: {str(error).partition('; its log')[0]}")
            return error
        self.found.append(system)
        note(f"{name}: {system.images_per_second:.1f} images/s, {system.ratio:.3f} of the bare loop")
        return None
