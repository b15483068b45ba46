"""The arrivals that a worker has taken and not brought to their ends: who may begin, who tries again."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from kappa_pipeline.arrival import Attempt
from kappa_pipeline.device_lane import Lane
from kappa_pipeline.work_lanes import WorkLanes

T = TypeVar("T")


class WorkInHand(Generic[T]):
    """Leaves arrivals to ``lanes``. Lives on the running loop, where ``ended`` is called with what came with
    an arrival when that has come to its end, and ``broken`` when a device's process has ended.

    A failed attempt is followed by the next, after its pause, unless ``wanted`` says that the arrival is no
    longer for this worker: then it ends as it is. A second arrival of an image waits for the first, and then
    finds its signals.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        *,
        largest_group: int,
        ended: Callable[[T], None],
        wanted: Callable[[T], bool],
        broken: Callable[[BaseException], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tell_ended, self._tell_broken, self._wanted = ended, broken, wanted
        self._in_hand: dict[Attempt, T] = {}
        self._followers: dict[tuple[str, str], deque[Attempt]] = {}  # of images in work
        self._lanes = WorkLanes(lanes, largest=largest_group, done=self._attempted, broken=broken)

    def __len__(self) -> int:
        return len(self._in_hand)

    def take(self, arrival: Attempt, told: T) -> None:
        """It is in hand from now on; ``told`` is what ``ended`` will be called with."""
        self._in_hand[arrival] = told

    def start(self, arrival: Attempt) -> None:
        """Work on an arrival that was taken may begin."""
        if (followers := self._followers.get(arrival.image)) is not None:
            followers.append(arrival)
        else:
            self._followers[arrival.image] = deque()
            self._lanes.put(arrival)

    async def until_idle(self, seconds: float) -> None:
        """Return when a lane has nothing to do, or after ``seconds``."""
        await self._lanes.until_idle(seconds)

    def stop(self) -> None:
        """Begin with no more."""
        self._lanes.stop()

    async def close(self) -> None:
        """Stop, and return when no group is in work."""
        await self._lanes.close()

    def _attempted(self, group: list[Attempt]) -> None:
        try:
            for arrival in group:
                if arrival.retry_seconds is None:
                    self._finish(arrival)
                else:
                    self._loop.call_later(arrival.retry_seconds, self._try_again, arrival)
        except Exception as error:
            self._tell_broken(error)

    def _try_again(self, arrival: Attempt) -> None:
        if not self._wanted(self._in_hand[arrival]):
            self._finish(arrival)
            return
        following = arrival.next()
        self._in_hand[following] = self._in_hand.pop(arrival)
        self._lanes.put(following)

    def _finish(self, arrival: Attempt) -> None:
        self._tell_ended(self._in_hand.pop(arrival))
        followers = self._followers[arrival.image]
        while followers:
            following = followers.popleft()
            if self._wanted(self._in_hand[following]):
                return self._lanes.put(following)
            self._tell_ended(self._in_hand.pop(following))
        del self._followers[arrival.image]
