"""Takes arrivals without ever blocking, and hands them on: to the media log and to PinLater."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from lambda_pipeline.media_log import MediaLog
from lambda_pipeline.pinlater import PinLater
from signals.architecture import MediaEvent
from signals.catalog import Catalog
from signals.errors import PipelineError, ServiceError

MAX_BATCH = 500
RETRY_SECONDS = 0.5


@dataclass(slots=True)
class _Seal:
    """Stands in the queue behind the last event of a day."""

    day: int
    done: threading.Event = field(default_factory=threading.Event)


class Submitter:
    """One thread that enqueues whatever has arrived meanwhile as one batch.

    It keeps trying while PinLater is away; the arrivals wait here, and are counted.
    """

    def __init__(self, pinlater: PinLater, media_log: MediaLog, catalog: Catalog) -> None:
        self._pinlater, self._media_log, self._catalog = pinlater, media_log, catalog
        self._waiting: deque[MediaEvent | _Seal] = deque()
        self._arrived = threading.Condition()
        self._unsent = 0
        self._closed = False
        self._error: Exception | None = None
        self._refusal: ServiceError | None = None  # the latest
        self._thread = threading.Thread(target=self._serve, name="submitter", daemon=True)
        self._thread.start()

    def submit(self, event: MediaEvent) -> None:
        """Take one arrival. Raises PipelineError once the thread has failed for good."""
        self._check()
        with self._arrived:
            self._waiting.append(event)
            self._unsent += 1
            self._arrived.notify()

    def seal(self, day: int, check: Callable[[], None], *, timeout_seconds: float) -> None:
        """Return when every arrival so far is enqueued and the day's media log is final.

        ``check`` is called meanwhile, and may raise. Raises PipelineError, also when that takes too long.
        """
        marker = _Seal(day)
        deadline = time.monotonic() + timeout_seconds
        with self._arrived:
            self._waiting.append(marker)
            self._arrived.notify()
        while not marker.done.wait(RETRY_SECONDS):
            self._check()
            check()
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"{self.unsent} arrivals of day {day} are not enqueued after {timeout_seconds:.0f} s: "
                    f"{self._refusal or 'the media log takes its time'}"
                )

    @property
    def unsent(self) -> int:
        """Arrivals that are not in PinLater yet."""
        return self._unsent

    def close(self) -> None:
        """Stop; arrivals that are not enqueued by then are dropped."""
        with self._arrived:
            self._closed = True
            self._arrived.notify()
        self._thread.join()
        self._media_log.close()

    def _serve(self) -> None:
        try:
            while (batch := self._take()) is not None:
                events = [item for item in batch if isinstance(item, MediaEvent)]
                self._media_log.append(events)
                self._enqueue(events)
                with self._arrived:
                    self._unsent -= len(events)
                for item in batch:
                    if isinstance(item, _Seal):
                        self._media_log.seal(item.day)
                        item.done.set()
        except Exception as error:
            self._error = error

    def _take(self) -> list[MediaEvent | _Seal] | None:
        """What has arrived, up to and including a seal; blocks for the first. None when closed."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            batch: list[MediaEvent | _Seal] = []
            while self._waiting and len(batch) < MAX_BATCH:
                batch.append(self._waiting.popleft())
                if isinstance(batch[-1], _Seal):
                    break
            return batch

    def _enqueue(self, events: list[MediaEvent]) -> None:
        jobs = [
            (orjson.loads(event.to_bytes()), self._catalog.pipeline(event.pipeline).media.priority)
            for event in events
        ]
        while not self._closed:
            try:
                self._pinlater.enqueue_many(jobs)
                return
            except ServiceError as refusal:
                self._refusal = refusal
                time.sleep(RETRY_SECONDS)

    def _check(self) -> None:
        if self._error is not None:
            raise PipelineError(f"arrivals can't be submitted any more: {self._error}") from self._error
