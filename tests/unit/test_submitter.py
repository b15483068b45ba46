from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from lambda_pipeline.media_log import MediaLog, sealed_file
from lambda_pipeline.pinlater import PinLater
from lambda_pipeline.submitter import Submitter
from signals.architecture import MediaEvent
from signals.catalog import Catalog
from signals.errors import PipelineError, ServiceError

LONG = 60.0  # seconds; nothing here waits this long


class Queue:
    """Takes jobs, once it has refused so many calls."""

    def __init__(self, refusals: float) -> None:
        self.refusals = refusals
        self.jobs: list[int] = []

    def enqueue_many(self, jobs: Iterable[tuple[dict[str, Any], int]]) -> None:
        if self.refusals > 0:
            self.refusals -= 1
            raise ServiceError("PinLater: PostgreSQL refuses: permission denied")
        self.jobs += [payload["event_id"] for payload, _ in jobs]


@pytest.fixture
def refusing(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Queue, Submitter]]:
    queue = Queue(request.param)
    submitter = Submitter(cast(PinLater, queue), MediaLog(tmp_path), Catalog.load(""))
    yield queue, submitter
    submitter.close()


def event(number: int) -> MediaEvent:
    return MediaEvent(number, f"{number:032x}", "crawled", "pins", 0, 1, "images/1")


@pytest.mark.parametrize("refusing", [0, 1], ids=["taken at once", "refused once"], indirect=True)
def test_a_day_is_sealed_when_all_its_arrivals_are_enqueued(
    refusing: tuple[Queue, Submitter], tmp_path: Path
) -> None:
    queue, submitter = refusing
    for number in range(3):
        submitter.submit(event(number))
    submitter.seal(0, lambda: None, timeout_seconds=LONG)
    assert queue.jobs == [0, 1, 2]
    assert submitter.unsent == 0
    assert len(sealed_file(tmp_path, 0).read_bytes().splitlines()) == 3


@pytest.mark.parametrize("refusing", [float("inf")], ids=["refused always"], indirect=True)
def test_a_queue_that_refuses_for_good_ends_the_wait_with_its_words(
    refusing: tuple[Queue, Submitter], tmp_path: Path
) -> None:
    _, submitter = refusing
    submitter.submit(event(0))
    with pytest.raises(PipelineError, match=r"1 arrivals of day 0 .* permission denied"):
        submitter.seal(0, lambda: None, timeout_seconds=0.1)
    assert submitter.unsent == 1
    assert not sealed_file(tmp_path, 0).exists()
