"""One attempt at a nightly job: its claim, and what the attempts at a job leave for each other.

They leave it in the job's progress: where the worker is, where workers have died, and which images are given
up. A verdict is kept there before anyone hears of it: every later attempt finds it and says the same.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from lambda_pipeline.patience import patience_seconds
from lambda_pipeline.pinlater import Job, PinLater
from signals.architecture import DETAIL_CHARACTERS, RunContext
from signals.attempts import ATTEMPTS_EXHAUSTED, WORKERS_DISAPPEARED
from signals.compute import ComputeFailure
from signals.errors import PipelineError
from signals.ledger import Stage

# Of a job's progress. A place is an image's index in its job; after the last image comes the job's output.
AT, DIED_AT, GIVEN_UP = "at", "died_at", "given_up"


class ClaimLost(PipelineError):
    """Another worker has the job: this one may tell nothing and overwrite nothing any more."""


@dataclass(slots=True)
class JobAttempt:
    """``died_at``: the place of each death of a worker, None where nobody knows it. ``given_up``: why, by
    place. ``stage``: where the job would fail, should it fail now."""

    job: Job
    pinlater: PinLater
    context: RunContext
    died_at: list[int | None]
    given_up: dict[int, ComputeFailure]
    stage: Stage = Stage.FETCH
    claimed_at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, job: Job, pinlater: PinLater, context: RunContext) -> JobAttempt:
        """Of a job that was just claimed. A place at which ``max_attempts`` workers died is given up."""
        left = job.progress
        died_at: list[int | None] = left.get(DIED_AT, [])
        if AT in left:
            # Whoever died before at nobody knows which image most likely died at the same.
            died_at = [left[AT] if place is None else place for place in died_at] + [left[AT]]
        elif job.attempt > 1 and not left:
            died_at = [None]  # in a batch, and without a word
        given_up = {int(place): ComputeFailure(**why) for place, why in left.get(GIVEN_UP, {}).items()}
        attempt = cls(job, pinlater, context, died_at, given_up)
        for place, deaths in Counter(died_at).items():
            if place is None or deaths < context.max_attempts:
                continue
            if place < len(attempt.places):
                attempt.give_up([place], Stage.FETCH, WORKERS_DISAPPEARED)  # or later: who knew is gone
            else:
                attempt.give_up(attempt.places, Stage.WRITE, WORKERS_DISAPPEARED)
        return attempt

    @property
    def places(self) -> range:
        """Those of the job's images."""
        return range(len(self.job.payload["images"]))

    @property
    def is_last(self) -> bool:
        """Whether what fails now has failed ``max_attempts`` times. Deaths are counted for themselves."""
        return self.job.attempt - len(self.died_at) >= self.context.max_attempts

    def give_up(self, places: Iterable[int], stage: Stage, text: str) -> None:
        """A verdict on the images that have none yet, which :meth:`reach` or :meth:`give_back` keeps."""
        # What PostgreSQL keeps as JSON: no NUL, and no half of a surrogate pair.
        detail = text[:DETAIL_CHARACTERS].replace("\0", " ").encode("utf-8", "replace").decode()
        for place in places:
            self.given_up.setdefault(place, ComputeFailure(str(stage), ATTEMPTS_EXHAUSTED, detail))

    def reach(self, place: int) -> None:
        """From now on who dies, dies at ``place``. Prolongs the claim. Raises ClaimLost and ServiceError."""
        self._checkpoint({AT: place, **self._to_leave()})

    def prolong(self) -> None:
        """Prolong a claim that is not young any more. Raises ClaimLost and ServiceError."""
        if time.monotonic() - self.claimed_at > patience_seconds(self.context.claim_seconds):
            self._checkpoint(None)

    def give_back(self, delay_seconds: float) -> None:
        """The attempt ends with a word, so nobody died. Does nothing where the claim was lost. Raises
        ServiceError."""
        self.pinlater.fail(self.job, delay_seconds, self._to_leave())

    def _checkpoint(self, progress: dict[str, Any] | None) -> None:
        self.claimed_at = time.monotonic()
        if not self.pinlater.checkpoint(self.job, self.context.claim_seconds, progress):
            raise ClaimLost("it was delivered to another worker as well, who goes on")

    def _to_leave(self) -> dict[str, Any]:
        given_up = {str(place): asdict(why) for place, why in self.given_up.items()}
        return {DIED_AT: self.died_at, GIVEN_UP: given_up}
