from __future__ import annotations

from pathlib import Path

import pytest

from lambda_pipeline.media_log import MediaLog, sealed_file
from signals.architecture import MediaEvent
from signals.errors import PipelineError


def event(number: int, day: int) -> MediaEvent:
    return MediaEvent(number, f"{number:032x}", "crawled", "pins", day, number, f"images/{number}")


def test_a_day_is_readable_once_sealed_and_holds_every_event_in_order(tmp_path: Path) -> None:
    log = MediaLog(tmp_path)
    log.append([event(1, 0), event(2, 1), event(3, 0)])
    assert not sealed_file(tmp_path, 0).exists()
    sealed = log.seal(0)
    assert sealed == sealed_file(tmp_path, 0)
    assert [MediaEvent.from_bytes(line) for line in sealed.read_bytes().splitlines()] == [
        event(1, 0),
        event(3, 0),
    ]
    log.close()
    assert not sealed_file(tmp_path, 1).exists()


def test_a_day_without_arrivals_is_an_empty_file(tmp_path: Path) -> None:
    assert MediaLog(tmp_path).seal(4).read_bytes() == b""


def test_a_sealed_day_takes_no_more_events(tmp_path: Path) -> None:
    log = MediaLog(tmp_path)
    log.seal(0)
    with pytest.raises(PipelineError, match="sealed"):
        log.append([event(1, 0)])
