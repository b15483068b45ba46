"""Samples taken at intervals during a run and appended to a file, one line of JSON each."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import orjson

log = logging.getLogger(__name__)


@contextlib.contextmanager
def sampled(path: Path, take: Callable[[], Iterable[object]], seconds: float, name: str) -> Iterator[None]:
    """While inside, a thread called ``name`` appends what ``take`` gives to ``path``: at intervals of
    ``seconds``, and once at the end.

    A disk that can't be written to ends the samples with a warning: a run has its own ways to find that out,
    and to end for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    closed = threading.Event()

    def watch() -> None:
        try:
            with path.open("ab", buffering=0) as file:
                is_last = False
                while not is_last:
                    is_last = closed.is_set()
                    lines = [orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE) for found in take()]
                    file.write(b"".join(lines))
                    closed.wait(seconds)
        except OSError as error:
            log.warning("no more samples in %s: %s", path.name, error)

    thread = threading.Thread(target=watch, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()
