from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from kappa_pipeline.arrival import Arrival
from kappa_pipeline.work_in_hand import WorkInHand
from signals.architecture import MediaEvent
from signals.ledger import Ledger

LONG = 60.0  # seconds; nothing here waits this long
Run = Callable[[list[Arrival]], None]


def arrival(ledger: Ledger, number: int, signature: str) -> Arrival:
    event = MediaEvent(number, signature, "crawled", "pins", 0, 1, "images/1")
    return Arrival.first(event, 1, ledger, "cpu:0")


def work(run: Run, arrivals: list[Arrival], wanted: Callable[[int], bool] = lambda _: True) -> list[int]:
    """Bring arrivals to their ends on one thread; the numbers of their events, in the order of their ends."""

    async def go() -> list[int]:
        ends: asyncio.Queue[int | BaseException] = asyncio.Queue()
        works: WorkInHand[int] = WorkInHand(
            [run], largest_group=4, ended=ends.put_nowait, wanted=wanted, broken=ends.put_nowait
        )
        for one in arrivals:
            works.take(one, one.event.event_id)
            works.start(one)
        assert len(works) == len(arrivals)
        order: list[int] = []
        try:
            for _ in arrivals:
                end = await asyncio.wait_for(ends.get(), LONG)
                if isinstance(end, BaseException):
                    raise end
                order.append(end)
            assert len(works) == 0 and ends.empty()
        finally:
            works.close()
        return order

    return asyncio.run(go())


def test_each_arrival_comes_to_one_end(ledger: Ledger) -> None:
    arrivals = [arrival(ledger, number, f"{number:032x}") for number in range(20)]
    assert work(lambda _: None, arrivals) == list(range(20))


def test_a_second_arrival_of_an_image_waits_for_the_first(ledger: Ledger) -> None:
    groups: list[list[str]] = []

    def run(group: list[Arrival]) -> None:
        groups.append([one.event.image_signature for one in group])

    same = [arrival(ledger, number, "a" * 32) for number in range(3)]
    others = [arrival(ledger, 10 + number, f"{number:032x}") for number in range(8)]
    ends = work(run, [*same, *others])
    assert all(len(set(group)) == len(group) for group in groups)
    assert [number for number in ends if number < 10] == [0, 1, 2]
    assert sum(map(len, groups)) == 11


def test_a_failed_attempt_is_followed_by_the_next_and_holds_its_image(ledger: Ledger) -> None:
    attempts: list[tuple[int, int]] = []

    def fails_twice(group: list[Arrival]) -> None:
        for one in group:
            attempts.append((one.event.event_id, one.number))
            one.retry_seconds = 0.01 if one.event.event_id == 0 and one.number < 3 else None

    ends = work(fails_twice, [arrival(ledger, number, "a" * 32) for number in range(2)])
    assert ends == [0, 1]
    assert attempts == [(0, 1), (0, 2), (0, 3), (1, 1)]


def test_what_is_no_longer_wanted_is_not_tried_again(ledger: Ledger) -> None:
    attempts: list[int] = []

    def fails(group: list[Arrival]) -> None:
        for one in group:
            attempts.append(one.event.event_id)
            one.retry_seconds = 0.01

    arrivals = [arrival(ledger, number, "a" * 32) for number in range(3)]
    assert work(fails, arrivals, wanted=lambda _: False) == [0, 1, 2]
    assert attempts == [0]


def test_a_follower_that_is_wanted_is_worked_on_after_one_that_is_not(ledger: Ledger) -> None:
    attempts: list[int] = []

    def fails_first(group: list[Arrival]) -> None:
        for one in group:
            attempts.append(one.event.event_id)
            one.retry_seconds = 0.01 if one.event.event_id == 0 else None

    arrivals = [arrival(ledger, number, "a" * 32) for number in range(3)]
    assert work(fails_first, arrivals, wanted=lambda number: number == 2) == [0, 1, 2]
    assert attempts == [0, 2]


def test_a_run_that_raises_is_told(ledger: Ledger) -> None:
    def breaks(_: list[Arrival]) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        work(breaks, [arrival(ledger, 0, "a" * 32)])
