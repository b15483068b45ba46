"""The media log: which images arrived on which day. The online side appends, the nightly workflow reads.

One folder per day with one file of JSON lines. While the day lasts the file is named ``*.open``; at
midnight it is sealed by a rename, so that a reader never takes half a day for a whole one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from signals.architecture import MediaEvent
from signals.errors import PipelineError

BUFFER_BYTES = 1 << 18
_SEALED = "events.jsonl"
_OPEN = "events.jsonl.open"


class MediaLog:
    """Appends events. One writer, one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, BinaryIO] = {}

    def append(self, events: Iterable[MediaEvent]) -> None:
        """Append events to the files of their days. PipelineError for a day that is sealed."""
        for event in events:
            file = self._files.get(event.day) or self._open(event.day)
            file.write(event.to_bytes() + b"\n")

    def seal(self, day: int) -> Path:
        """The day is over: make its file durable and final, also if nothing arrived. Returns the file."""
        file = self._files.pop(day, None) or self._create(day)
        file.flush()
        os.fsync(file.fileno())
        file.close()
        sealed = sealed_file(self._folder, day)
        (sealed.parent / _OPEN).rename(sealed)
        return sealed

    def close(self) -> None:
        """Write what is buffered; days that are not sealed stay open."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _open(self, day: int) -> BinaryIO:
        self._files[day] = self._create(day)
        return self._files[day]

    def _create(self, day: int) -> BinaryIO:
        sealed = sealed_file(self._folder, day)
        if sealed.exists():
            raise PipelineError(f"day {day} of the media log is sealed: {sealed}")
        sealed.parent.mkdir(parents=True, exist_ok=True)
        return (sealed.parent / _OPEN).open("ab", buffering=BUFFER_BYTES)


def sealed_file(folder: Path, day: int) -> Path:
    """Where the finished log of ``day`` lies."""
    return folder / f"day={day}" / _SEALED


def media_log_dir(arm_dir: Path) -> Path:
    """Where an arm keeps its media log."""
    return arm_dir / "media_log"
