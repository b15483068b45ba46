"""The ledger rows of one attempt at one event: contiguous stages, each starting where the last ended."""

from __future__ import annotations

from typing import Final

from signals.architecture import MediaEvent
from signals.compute import StageTimes
from signals.ledger import Ledger, Stage

POOL: Final = "stream"
PATH: Final = "stream"


class StageRows:
    """Writes the rows of one attempt, from ``start_ns`` (Unix ns) on."""

    def __init__(self, ledger: Ledger, event: MediaEvent, attempt: int, device: str, start_ns: int) -> None:
        self._ledger, self._event, self._attempt, self._device = ledger, event, attempt, device
        self.end_ns = start_ns

    def until(
        self, stage: Stage, end_ns: int, *, outcome: str = "ok", detail: str = "", batch_size: int = 0
    ) -> None:
        """``stage`` ended at ``end_ns``; it began where the last one ended."""
        self._ledger.record(
            stage,
            start_ns=self.end_ns,
            end_ns=end_ns,
            path=PATH,
            day=self._event.day,
            event_id=self._event.event_id,
            image_signature=self._event.image_signature,
            galaxy=self._event.galaxy,
            pipeline=self._event.pipeline,
            attempt=self._attempt,
            pool=POOL,
            device=self._device,
            batch_size=batch_size,
            outcome=outcome,
            detail=detail,
        )
        self.end_ns = end_ns

    def computed(self, times: StageTimes, batch_size: int, failed_stage: str = "") -> None:
        """The stages that the computation went through; ``failed_stage`` is where it ended for bad images."""
        self.until(Stage.QUEUE, times.fetch_start_ns)
        for stage, end_ns in times.ends():
            outcome = "error" if stage == failed_stage else "ok"
            size = batch_size if stage is Stage.INFERENCE else 0
            self.until(stage, end_ns, outcome=outcome, batch_size=size)
