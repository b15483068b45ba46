"""One attempt at one message of the media topic, on its way through the stream job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kappa_pipeline.stage_rows import StageRows
from signals.architecture import MediaEvent
from signals.declaration import SignalDeclaration
from signals.inference import SignalValues
from signals.ledger import Ledger, Stage


@dataclass(slots=True, eq=False)
class Attempt:
    """As the worker that reads the stream knows it. ``number`` is above 1 at first where workers have died,
    or lost the partition, with the event in work."""

    event: MediaEvent
    number: int
    start_ns: int  # Unix ns
    unreadable: str = ""  # why the message is no media event; ``event`` is a stand-in then
    end_ns: int = 0  # Unix ns, once it has ended
    retry_seconds: float | None = None  # it failed, and the next may be made after this time

    def next(self) -> Attempt:
        """The attempt after this one, which failed."""
        return Attempt(self.event, self.number + 1, self.end_ns)

    @property
    def image(self) -> tuple[str, str]:
        """What is computed once: arrivals of the same image have the same keys."""
        return self.event.galaxy, self.event.image_signature


@dataclass(slots=True, eq=False)
class Arrival:
    """As the process that computes it knows it. ``stage``: where it would fail, should it fail now."""

    attempt: Attempt
    rows: StageRows
    stage: Stage = Stage.QUEUE
    missing: Sequence[SignalDeclaration] = ()  # signals that are not stored yet
    values: SignalValues = field(default_factory=dict)  # computed, of those that are missing
    items: list[tuple[bytes, bytes]] = field(default_factory=list)  # keys and encoded records to store
    has_ended: bool = False
    input_hash: str = ""

    @classmethod
    def of(cls, attempt: Attempt, ledger: Ledger, device: str) -> Arrival:
        """What is to be done about ``attempt``, on ``device``, as the ledger names it."""
        return cls(attempt, StageRows(ledger, attempt.event, attempt.number, device, attempt.start_ns))

    @property
    def event(self) -> MediaEvent:
        """What was read from the stream."""
        return self.attempt.event

    @property
    def number(self) -> int:
        """Of the attempt, from 1."""
        return self.attempt.number
