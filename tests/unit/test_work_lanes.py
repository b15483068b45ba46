from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from kappa_pipeline.arrival import Arrival, Attempt
from kappa_pipeline.work_lanes import WorkLanes
from signals.ledger import Ledger
from tests.unit.test_work_in_hand import attempt, lane

LONG = 60.0  # seconds; nothing here waits this long


class Desk:
    """What is done on a lane: note each group, and hold it back until it is let go."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.groups: list[list[int]] = []
        self.gate = threading.Semaphore(1000 if is_open else 0)

    def run(self, group: list[Arrival]) -> None:
        self.groups.append([arrival.event.event_id for arrival in group])
        assert self.gate.acquire(timeout=LONG)


class Works:
    """Lanes to desks, given as (desk, device), and the numbers of what came back."""

    def __init__(self, ledger: Ledger, *desks: tuple[Desk, int]) -> None:
        self._ledger, self._desks = ledger, desks
        self.done: list[int] = []
        self.broken: list[BaseException] = []

    def run(self, play: Callable[[WorkLanes], Any]) -> None:
        """``play`` with them, on a loop of its own; then close them."""

        async def go(stack: contextlib.ExitStack) -> None:
            lanes = [stack.enter_context(lane(d.run, self._ledger, device)) for d, device in self._desks]
            works = WorkLanes(lanes, largest=8, done=self._note, broken=self.broken.append)
            await play(works)
            await works.close()

        with contextlib.ExitStack() as stack:
            asyncio.run(asyncio.wait_for(go(stack), LONG))

    def _note(self, group: list[Attempt]) -> None:
        self.done += [one.event.event_id for one in group]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


def numbered(number: int) -> Attempt:
    return attempt(number, f"{number:032x}")


def test_one_alone_waits_for_no_other(ledger: Ledger) -> None:
    desk = Desk(is_open=True)
    works = Works(ledger, (desk, 0))

    async def play(lanes: WorkLanes) -> None:
        for number in range(3):
            lanes.put(numbered(number))
            await until(lambda number=number: number in works.done)

    works.run(play)
    assert desk.groups == [[0], [1], [2]]


def test_groups_grow_with_what_waits_and_leave_a_share_to_others(ledger: Ledger) -> None:
    desk = Desk()
    works = Works(ledger, (desk, 0), (desk, 0))

    async def play(lanes: WorkLanes) -> None:
        for number in range(41):
            lanes.put(numbered(number))
        desk.gate.release(1000)
        await until(lambda: len(works.done) == 41)

    works.run(play)
    assert sorted(works.done) == list(range(41))
    groups = sorted(desk.groups)
    assert [number for group in groups for number in group] == list(range(41))  # in order
    # One for each lane at once, then half of what waits for two lanes, and no more than a group may have.
    assert [len(group) for group in groups] == [1, 1, 8, 8, 8, 7, 4, 2, 1, 1]


def test_a_device_with_nothing_to_do_comes_first_then_one_that_can_prepare(ledger: Ledger) -> None:
    desks = [Desk(), Desk(), Desk(), Desk()]
    works = Works(ledger, *zip(desks, (0, 0, 1, 1), strict=True))

    async def play(lanes: WorkLanes) -> None:
        for number in range(6):
            lanes.put(numbered(number))
        await until(lambda: all(desk.groups for desk in desks))
        assert sorted(desks[0].groups + desks[1].groups) == [[0], [2]]
        assert sorted(desks[2].groups + desks[3].groups) == [[1], [3]]
        desks[2].gate.release()  # one of device 1 is done: the next in line goes there
        await until(lambda: works.done == [1])
        await until(lambda: len(desks[2].groups) == 2)
        assert desks[2].groups == [[1], [4]]
        for desk in desks:
            desk.gate.release(1000)
        await until(lambda: len(works.done) == 6)

    works.run(play)


def test_what_waits_at_a_stop_is_dropped_and_what_is_at_work_comes_to_its_end(ledger: Ledger) -> None:
    desk = Desk()
    works = Works(ledger, (desk, 0))

    async def play(lanes: WorkLanes) -> None:
        for number in range(5):
            lanes.put(numbered(number))
        lanes.stop()
        lanes.put(numbered(5))
        desk.gate.release(1000)

    works.run(play)
    assert works.done == [0]
    assert not works.broken


def test_who_waits_for_an_idle_lane_waits_while_all_are_at_work_or_for_the_time(ledger: Ledger) -> None:
    desks = [Desk(), Desk()]
    works = Works(ledger, *zip(desks, (0, 0), strict=True))

    async def play(lanes: WorkLanes) -> None:
        await lanes.until_idle(LONG)
        lanes.put(numbered(0))
        await lanes.until_idle(LONG)  # the other lane is
        lanes.put(numbered(1))
        await lanes.until_idle(0.001)
        waiting = asyncio.ensure_future(lanes.until_idle(LONG))
        lanes.put(numbered(2))
        await until(lambda: all(desk.groups for desk in desks))
        desks[0].gate.release()
        await until(lambda: len(desks[0].groups) == 2)  # it has what waited, so it is not idle
        assert not waiting.done()
        desks[1].gate.release()
        await waiting
        assert sorted(works.done) == [0, 1]
        desks[0].gate.release()

    works.run(play)
    assert sorted(works.done) == [0, 1, 2]
