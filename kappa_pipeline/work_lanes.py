"""Who works on what waits: in groups, as the fixed cost of a call is shared when there is much to do, and
nothing waits for company when there is little."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Sequence

from kappa_pipeline.arrival import Attempt
from kappa_pipeline.device_lane import Lane
from signals.errors import PipelineError


class WorkLanes:
    """Hands what waits to ``lanes``, first come, first served. Lives on the running loop, where ``done`` is
    called with each group that has ended, and ``broken`` when a device process has.

    A device with nothing to do comes first, then one whose other lane is at work: what it gets is fetched
    while the device is busy. A group is a lane's share of what waits, so that the others find something too;
    one attempt at least, ``largest`` at most.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        *,
        largest: int,
        done: Callable[[list[Attempt]], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._largest = largest
        self._done, self._broken = done, broken
        self._waiting: deque[Attempt] = deque()
        self._idle = list(lanes)
        self._at_work: dict[Lane, list[Attempt]] = {}
        self._groups: Counter[int] = Counter()  # at work, by device
        self._stopped = False
        self._lanes = list(lanes)
        self._ended = asyncio.Event()  # a group has
        for lane in lanes:
            self._loop.add_reader(lane.fileno(), self._answered, lane)

    def put(self, attempt: Attempt) -> None:
        """Leave one attempt to the lanes, unless they were stopped."""
        if not self._stopped:
            self._waiting.append(attempt)
            self._hand_out()

    async def until_idle(self, seconds: float) -> None:
        """Return when a lane has nothing to do, or after ``seconds``."""
        if self._idle:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._idle:
                    await self._until_one_ends()

    def stop(self) -> None:
        """Drop what waits, and take no more."""
        self._stopped = True
        self._waiting.clear()

    async def close(self) -> None:
        """Stop, and return when no group is at work."""
        self.stop()
        while self._at_work:
            await self._until_one_ends()
        for lane in self._lanes:
            self._loop.remove_reader(lane.fileno())

    async def _until_one_ends(self) -> None:
        self._ended.clear()
        await self._ended.wait()

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            lane = min(self._idle, key=lambda lane: self._groups[lane.device])
            size = max(1, min(self._largest, len(self._waiting) // len(self._lanes)))
            group = [self._waiting.popleft() for _ in range(size)]
            self._idle.remove(lane)
            self._at_work[lane] = group
            self._groups[lane.device] += 1
            with contextlib.suppress(OSError):  # its process has ended, as the reader of the lane will tell
                lane.send(group)

    def _answered(self, lane: Lane) -> None:
        group = self._at_work.pop(lane, [])
        self._ended.set()
        try:
            lane.receive(group)
        except (EOFError, OSError):
            self._loop.remove_reader(lane.fileno())
            self.stop()
            self._broken(PipelineError(f"the process of device {lane.device} has ended"))
            return
        self._groups[lane.device] -= 1
        self._idle.append(lane)
        try:
            self._hand_out()
        except Exception as error:  # nobody else would hear of it
            self._broken(error)
        self._done(group)
