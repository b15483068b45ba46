from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from multiprocessing import Pipe

import pytest

from kappa_pipeline.arrival import Arrival, Attempt
from kappa_pipeline.device_lane import Lane, serve
from kappa_pipeline.work_in_hand import WorkInHand
from signals.architecture import MediaEvent
from signals.errors import PipelineError
from signals.ledger import Ledger

LONG = 60.0  # seconds; nothing here waits this long
Run = Callable[[list[Arrival]], None]


def attempt(number: int, signature: str) -> Attempt:
    return Attempt(MediaEvent(number, signature, "crawled", "pins", 0, 1, "images/1"), 1, 1)


@contextlib.contextmanager
def lane(run: Run, ledger: Ledger, device: int = 0) -> Iterator[Lane]:
    """One that a thread serves here; it is gone when ``run`` raises, as a process would be."""
    ours, theirs = Pipe()

    def serve_until_broken() -> None:
        with theirs, contextlib.suppress(ZeroDivisionError):
            serve(theirs, run, ledger, device=f"cpu:{device}")

    thread = threading.Thread(target=serve_until_broken)
    thread.start()
    try:
        yield Lane(ours, device)
    finally:
        ours.close()
        thread.join()


def work(
    run: Run, attempts: list[Attempt], ledger: Ledger, wanted: Callable[[int], bool] = lambda _: True
) -> list[int]:
    """Bring arrivals to their ends on one lane; the numbers of their events, in the order of their ends."""

    async def go(lanes: list[Lane]) -> list[int]:
        ends: asyncio.Queue[int | BaseException] = asyncio.Queue()
        works: WorkInHand[int] = WorkInHand(
            lanes, largest_group=4, ended=ends.put_nowait, wanted=wanted, broken=ends.put_nowait
        )
        for one in attempts:
            works.take(one, one.event.event_id)
            works.start(one)
        assert len(works) == len(attempts)
        order: list[int] = []
        try:
            for _ in attempts:
                end = await asyncio.wait_for(ends.get(), LONG)
                if isinstance(end, BaseException):
                    raise end
                order.append(end)
            assert len(works) == 0 and ends.empty()
        finally:
            await works.close()
        return order

    with lane(run, ledger) as only:
        return asyncio.run(go([only]))


def test_an_attempt_crosses_a_lane_as_it_is(ledger: Ledger) -> None:
    strange = MediaEvent(
        2**63 - 1, "0" * 32, "crawled", "pins", 7, 2**63 - 1, 'a "b"/\u00e4\U0001f408\n', lateness_ns=5
    )
    sent = [Attempt(strange, 3, 2**62, "neither \u2028 nor \ufffd"), attempt(1, "1" * 32)]
    found: list[Attempt] = []

    def run(group: list[Arrival]) -> None:
        found.extend(arrival.attempt for arrival in group)
        group[1].attempt.retry_seconds = 0.25

    with lane(run, ledger) as only:
        only.send(sent)
        only.receive(sent)
    for there, here in zip(found, sent, strict=True):
        assert (there.event, there.number, there.start_ns) == (here.event, here.number, here.start_ns)
        assert there.unreadable == here.unreadable
    assert [one.retry_seconds for one in sent] == [None, 0.25]
    assert [one.end_ns for one in sent] == [2**62, 1]


def test_each_arrival_comes_to_one_end(ledger: Ledger) -> None:
    attempts = [attempt(number, f"{number:032x}") for number in range(20)]
    assert work(lambda _: None, attempts, ledger) == list(range(20))


def test_a_second_arrival_of_an_image_waits_for_the_first(ledger: Ledger) -> None:
    groups: list[list[str]] = []

    def run(group: list[Arrival]) -> None:
        groups.append([one.event.image_signature for one in group])

    same = [attempt(number, "a" * 32) for number in range(3)]
    others = [attempt(10 + number, f"{number:032x}") for number in range(8)]
    ends = work(run, [*same, *others], ledger)
    assert all(len(set(group)) == len(group) for group in groups)
    assert [number for number in ends if number < 10] == [0, 1, 2]
    assert sum(map(len, groups)) == 11


def test_a_failed_attempt_is_followed_by_the_next_and_holds_its_image(ledger: Ledger) -> None:
    attempts: list[tuple[int, int]] = []

    def fails_twice(group: list[Arrival]) -> None:
        for one in group:
            attempts.append((one.event.event_id, one.number))
            one.attempt.retry_seconds = 0.01 if one.event.event_id == 0 and one.number < 3 else None

    ends = work(fails_twice, [attempt(number, "a" * 32) for number in range(2)], ledger)
    assert ends == [0, 1]
    assert attempts == [(0, 1), (0, 2), (0, 3), (1, 1)]


def test_what_is_no_longer_wanted_is_not_tried_again(ledger: Ledger) -> None:
    attempts: list[int] = []

    def fails(group: list[Arrival]) -> None:
        for one in group:
            attempts.append(one.event.event_id)
            one.attempt.retry_seconds = 0.01

    arrivals = [attempt(number, "a" * 32) for number in range(3)]
    assert work(fails, arrivals, ledger, wanted=lambda _: False) == [0, 1, 2]
    assert attempts == [0]


def test_a_follower_that_is_wanted_is_worked_on_after_one_that_is_not(ledger: Ledger) -> None:
    attempts: list[int] = []

    def fails_first(group: list[Arrival]) -> None:
        for one in group:
            attempts.append(one.event.event_id)
            one.attempt.retry_seconds = 0.01 if one.event.event_id == 0 else None

    arrivals = [attempt(number, "a" * 32) for number in range(3)]
    assert work(fails_first, arrivals, ledger, wanted=lambda number: number == 2) == [0, 1, 2]
    assert attempts == [0, 2]


@pytest.mark.timeout(LONG)
def test_a_device_process_that_ends_is_told(ledger: Ledger) -> None:
    def dies(_: list[Arrival]) -> None:
        raise ZeroDivisionError

    with pytest.raises(PipelineError, match="device 0 has ended"):
        work(dies, [attempt(0, "a" * 32)], ledger)
