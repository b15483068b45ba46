"""Which messages of one partition may be acknowledged: only ever the finished prefix, in offset order.

Work on messages runs concurrently and finishes in any order. Committing an offset says "everything before
it is done", so a message that finished early waits here until all messages before it have finished too.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Entry(Generic[T]):
    offset: int
    item: T
    barrier: bool
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Released(Generic[T]):
    """What one step made possible.

    ``acked``: items that are acknowledged now, in offset order. ``barrier``: a barrier that has become the
    oldest unacknowledged message, so all before it are acknowledged; its work may start now.
    """

    acked: list[T] = field(default_factory=list)
    barrier: T | None = None


class OrderedAcks(Generic[T]):
    """Bookkeeping of one partition under one assignment. A new assignment needs a new instance.

    An ordinary item is finished whenever its work ends. A *barrier* is an item whose work may only start
    once everything before it is acknowledged, such as a heartbeat that publishes the watermark: it is
    handed back by the step that made it the oldest, exactly once. Not thread-safe.
    """

    def __init__(self) -> None:
        self._entries: deque[_Entry[T]] = deque()
        self._by_offset: dict[int, _Entry[T]] = {}
        self._last_started = -1
        self._next_offset: int | None = None
        self._announced = -1

    @property
    def next_offset(self) -> int | None:
        """The offset to commit, one past the last acknowledged message; None before the first."""
        return self._next_offset

    def start(self, offset: int, item: T, *, barrier: bool = False) -> Released[T]:
        """Work on the message at ``offset`` begins. Raises ValueError unless offsets increase."""
        if offset <= self._last_started:
            raise ValueError(f"offset {offset} started after offset {self._last_started}")
        self._last_started = offset
        entry = _Entry(offset, item, barrier)
        self._entries.append(entry)
        self._by_offset[offset] = entry
        return self._advance()

    def finish(self, offset: int) -> Released[T]:
        """Work on the message at ``offset`` has ended. Raises ValueError if it is not being worked on, and
        for a barrier that is not the oldest message."""
        entry = self._by_offset.get(offset)
        if entry is None or entry.finished:
            raise ValueError(f"offset {offset} is not being worked on")
        if entry.barrier and entry is not self._entries[0]:
            raise ValueError(f"the barrier at offset {offset} was finished before the messages ahead of it")
        entry.finished = True
        return self._advance()

    def _advance(self) -> Released[T]:
        acked: list[T] = []
        while self._entries and self._entries[0].finished:
            entry = self._entries.popleft()
            del self._by_offset[entry.offset]
            self._next_offset = entry.offset + 1
            acked.append(entry.item)
        barrier: T | None = None
        if self._entries and self._entries[0].barrier and self._entries[0].offset != self._announced:
            self._announced = self._entries[0].offset
            barrier = self._entries[0].item
        return Released(acked, barrier)
