"""Notices a server that dies while the driver is busy with something else."""

from __future__ import annotations

import _thread
import contextlib
import threading
import time
from collections.abc import Iterator

from signals.errors import ServiceError
from signals.process import ProcessGroup

WATCH_SECONDS = 0.5


@contextlib.contextmanager
def watched(group: ProcessGroup) -> Iterator[None]:
    """While inside, a service that dies interrupts the main thread with its ServiceError."""
    failure: list[ServiceError] = []
    closed = threading.Event()

    def watch() -> None:
        while not closed.wait(WATCH_SECONDS):
            try:
                group.check()
            except ServiceError as error:
                failure.append(error)
                _thread.interrupt_main()
                return

    thread = threading.Thread(target=watch, name="service-watch", daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        # Whatever failed first in the main thread, a dead service is the cause worth naming.
        if not failure and not isinstance(error, KeyboardInterrupt):
            time.sleep(WATCH_SECONDS)
        if failure:
            raise failure[0] from error
        raise
    finally:
        closed.set()
        thread.join()
