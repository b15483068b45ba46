"""Windows of the bare loop between other measurements: each has one right before and one right after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.limit.loop import BareLoop, Window
from bench.limit.worker import Work

WINDOW_SECONDS = 4.0
SHARED_SECONDS = 5.0  # a window that ended longer ago says little about now


class Windows:
    """Windows of ``loop``; neighbouring measurements share the one between them."""

    def __init__(self, loop: BareLoop, work: Work = Work.S3, seconds: float = WINDOW_SECONDS) -> None:
        self._loop, self._work, self._seconds = loop, work, seconds
        self._last: Window | None = None
        self._last_ended = 0.0  # monotonic seconds

    @contextmanager
    def around(self) -> Iterator[list[Window]]:
        """The window before what the caller does, and, once that is done, the one after. Raises
        ServiceError."""
        is_near = time.monotonic() - self._last_ended < SHARED_SECONDS
        found = [self._last if self._last is not None and is_near else self.take()]
        yield found
        found.append(self.take())

    def take(self) -> Window:
        """One by itself, which what follows at once shares. Raises ServiceError."""
        self._last = self._loop.window(self._work, self._seconds)
        self._last_ended = time.monotonic()
        return self._last
