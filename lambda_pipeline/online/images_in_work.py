"""Which images a worker computes just now, over all the groups that it has in hand."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator


class ImagesInWork:
    """Lets an image be in one group at a time. Thread-safe."""

    def __init__(self) -> None:
        self._images: set[tuple[str, str]] = set()  # galaxies and signatures
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def begin(
        self, images: Collection[tuple[str, str]], patience_seconds: float
    ) -> Iterator[set[tuple[str, str]]]:
        """Those of ``images`` that are in no other group: they are the caller's until it leaves the context.
        Waits until there is one; without any after ``patience_seconds``. A caller has none while it waits,
        so no two wait for each other."""
        with self._changed:
            self._changed.wait_for(lambda: not self._images.issuperset(images), patience_seconds)
            begun = set(images) - self._images
            self._images |= begun
        try:
            yield begun
        finally:
            with self._changed:
                self._images -= begun
                self._changed.notify_all()
