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
class Arrival:
    """``stage``: where it would fail, should it fail now."""

    event: MediaEvent
    rows: StageRows
    unreadable: str = ""  # why the message is no media event; ``event`` is a stand-in then
    stage: Stage = Stage.QUEUE
    retry_seconds: float | None = None  # the attempt failed, and the next may be made after this time
    missing: Sequence[SignalDeclaration] = ()  # signals that are not stored yet
    values: SignalValues = field(default_factory=dict)  # computed, of those that are missing
    items: list[tuple[bytes, bytes]] = field(default_factory=list)  # keys and encoded records to store
    has_ended: bool = False
    input_hash: str = ""

    @classmethod
    def first(
        cls, event: MediaEvent, number: int, ledger: Ledger, device: str, *, unreadable: str = ""
    ) -> Arrival:
        """The first attempt that this worker makes; ``number`` is above 1 where workers have died, or lost
        the partition, with the event in work."""
        return cls(event, StageRows(ledger, event, number, device, event.scheduled_ns), unreadable)

    def next(self) -> Arrival:
        """The attempt after this one, which failed."""
        return Arrival(self.event, self.rows.next_attempt())

    @property
    def number(self) -> int:
        """Of the attempt, from 1."""
        return self.rows.attempt

    @property
    def image(self) -> tuple[str, str]:
        """What is computed once: arrivals of the same image have the same keys."""
        return self.event.galaxy, self.event.image_signature
