"""One image's contiguous stages in the ledger: each starts where the one before ended."""

from __future__ import annotations

import time
from typing import Literal

from signals.ledger import Ledger, Stage


class Trail:
    """Appends the stages of one attempt at one image. ``at_ns`` is where the last stage ended, Unix ns."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        path: Literal["online", "nightly"],
        start_ns: int,
        day: int,
        image_signature: str,
        galaxy: str,
        pipeline: str,
        attempt: int,
        event_id: int = -1,
    ) -> None:
        self._ledger, self._path, self.at_ns = ledger, path, start_ns
        self._day, self._event_id, self._attempt = day, event_id, attempt
        self._image_signature, self._galaxy, self._pipeline = image_signature, galaxy, pipeline

    def stage(
        self,
        stage: Stage,
        end_ns: int | None = None,
        *,
        device: str = "",
        batch_size: int = 0,
        outcome: str = "ok",
        detail: str = "",
    ) -> None:
        """``stage`` went on from the end of the last one until ``end_ns`` (default: now)."""
        end_ns = time.time_ns() if end_ns is None else end_ns
        self._ledger.record(
            stage,
            start_ns=self.at_ns,
            end_ns=end_ns,
            path=self._path,
            day=self._day,
            event_id=self._event_id,
            image_signature=self._image_signature,
            galaxy=self._galaxy,
            pipeline=self._pipeline,
            attempt=self._attempt,
            pool=self._path,
            device=device,
            batch_size=batch_size,
            outcome=outcome,
            detail=detail,
        )
        self.at_ns = end_ns

    def dead_letter(self, detail: str, end_ns: int | None = None) -> None:
        """The image ended as a dead letter. On return the row outlives this process: once its job has left
        the queue, nobody would write it again."""
        self.stage(Stage.DEAD_LETTER, end_ns, outcome="dead_letter", detail=detail)
        self._ledger.flush()
