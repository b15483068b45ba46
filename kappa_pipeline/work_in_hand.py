"""The arrivals that a worker has taken and not brought to their ends: who may begin, who tries again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from kappa_pipeline.arrival import Arrival
from kappa_pipeline.work_threads import WorkThreads

T = TypeVar("T")


class WorkInHand(Generic[T]):
    """Leaves arrivals to threads, one for each of ``runs``. Lives on the running loop, where ``ended`` is
    called with what came with an arrival when that has come to its end, and ``broken`` when a run has raised.

    A failed attempt is followed by the next, after its pause, unless ``wanted`` says that the arrival is no
    longer for this worker: then it ends as it is. A second arrival of an image waits for the first, and then
    finds its signals.
    """

    def __init__(
        self,
        runs: Sequence[Callable[[list[Arrival]], None]],
        *,
        largest_group: int,
        ended: Callable[[T], None],
        wanted: Callable[[T], bool],
        broken: Callable[[BaseException], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tell_ended, self._tell_broken, self._wanted = ended, broken, wanted
        self._in_hand: dict[Arrival, T] = {}
        self._followers: dict[tuple[str, str], deque[Arrival]] = {}  # of images in work
        self._threads = WorkThreads([self._telling(run) for run in runs], largest=largest_group)

    def __len__(self) -> int:
        return len(self._in_hand)

    def take(self, arrival: Arrival, told: T) -> None:
        """It is in hand from now on; ``told`` is what ``ended`` will be called with."""
        self._in_hand[arrival] = told

    def start(self, arrival: Arrival) -> None:
        """Work on an arrival that was taken may begin."""
        if (followers := self._followers.get(arrival.image)) is not None:
            followers.append(arrival)
        else:
            self._followers[arrival.image] = deque()
            self._threads.put(arrival)

    def stop(self) -> None:
        """Begin with no more."""
        self._threads.stop()

    def close(self) -> None:
        """Stop, and return when no group is in work."""
        self._threads.close()

    def _telling(self, run: Callable[[list[Arrival]], None]) -> Callable[[list[Arrival]], None]:
        def run_and_tell(group: list[Arrival]) -> None:
            try:
                run(group)
            except Exception as error:
                tell = functools.partial(self._tell_broken, error)
            else:
                tell = functools.partial(self._attempted, group)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(tell)

        return run_and_tell

    def _attempted(self, group: list[Arrival]) -> None:
        try:
            for arrival in group:
                if arrival.retry_seconds is None:
                    self._finish(arrival)
                else:
                    self._loop.call_later(arrival.retry_seconds, self._try_again, arrival)
        except Exception as error:
            self._tell_broken(error)

    def _try_again(self, arrival: Arrival) -> None:
        if not self._wanted(self._in_hand[arrival]):
            self._finish(arrival)
            return
        following = arrival.next()
        self._in_hand[following] = self._in_hand.pop(arrival)
        self._threads.put(following)

    def _finish(self, arrival: Arrival) -> None:
        self._tell_ended(self._in_hand.pop(arrival))
        followers = self._followers[arrival.image]
        while followers:
            following = followers.popleft()
            if self._wanted(self._in_hand[following]):
                return self._threads.put(following)
            self._tell_ended(self._in_hand.pop(following))
        del self._followers[arrival.image]
