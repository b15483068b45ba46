from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_pipeline.online.batcher import Batch, BatcherClosed, DeadlineExceeded, DynamicBatcher

LONG = 60.0  # seconds; nothing here waits this long


class Device:
    """Stands for the device: holds each batch until it is let go, and remembers what it was given."""

    def __init__(self) -> None:
        self.batches: list[Batch[int]] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def run(self, batch: Batch[int]) -> list[int | Exception]:
        self.batches.append(batch)
        self.entered.release()
        self.gate.acquire()
        return [item * 2 for item in batch]

    def let_go(self, batches: int = 1000) -> None:
        self.gate.release(batches)


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.let_go()


def double(batch: Batch[int]) -> list[int | Exception]:
    return [item * 2 for item in batch]


@given(st.integers(1, 9), st.integers(0, 60), st.integers(1, 3), st.sampled_from([0.0, 0.0005]))
@settings(deadline=None, max_examples=40)
def test_every_item_gets_its_own_result(max_batch: int, count: int, threads: int, wait: float) -> None:
    sizes: list[int] = []

    def run(batch: Batch[int]) -> list[int | Exception]:
        sizes.append(len(batch))
        return double(batch)

    with DynamicBatcher(run, max_batch, wait, capacity=60, threads=threads) as batcher:
        futures = [batcher.submit(item) for item in range(count)]
        assert [future.result(LONG) for future in futures] == [item * 2 for item in range(count)]
    assert sum(sizes) == count
    assert all(1 <= size <= max_batch for size in sizes)


def test_with_no_wait_a_free_device_takes_whatever_is_ready(device: Device) -> None:
    with DynamicBatcher(device.run, 4, 0.0, capacity=10) as batcher:
        futures = [batcher.submit(0)]
        device.entered.acquire()
        futures += [batcher.submit(item) for item in range(1, 7)]
        device.let_go()
        assert [future.result(LONG) for future in futures] == [0, 2, 4, 6, 8, 10, 12]
    assert [list(batch) for batch in device.batches] == [[0], [1, 2, 3, 4], [5, 6]]
    assert 0 < device.batches[0].start_ns <= device.batches[1].start_ns <= time.time_ns()


def test_a_full_batch_does_not_wait() -> None:
    with DynamicBatcher(double, 3, LONG, capacity=10) as batcher:
        futures = [batcher.submit(item) for item in range(3)]
        assert [future.result(LONG / 2) for future in futures] == [0, 2, 4]


def test_a_batch_that_is_not_full_is_sent_when_its_oldest_item_has_waited() -> None:
    with DynamicBatcher(double, 100, 0.01, capacity=100) as batcher:
        assert batcher.submit(4).result(LONG) == 8


@contextlib.contextmanager
def full_batcher(device: Device) -> Iterator[DynamicBatcher[int, int]]:
    """Item 0 is with the device, and 1 and 2 take the room that there is."""
    with DynamicBatcher(device.run, 1, 0.0, capacity=2) as batcher:
        batcher.submit(0)
        device.entered.acquire()
        batcher.submit(1)
        batcher.submit(2)
        yield batcher


def test_who_finds_the_queue_full_waits_for_room(device: Device) -> None:
    with full_batcher(device) as batcher, ThreadPoolExecutor(3) as callers:
        submitted = [callers.submit(batcher.submit, item) for item in (3, 4, 5)]
        assert not wait(submitted, timeout=0.05).done
        device.let_go()
        assert sorted(of.result(LONG).result(LONG) for of in submitted) == [6, 8, 10]
    assert sorted(item for batch in device.batches for item in batch) == [0, 1, 2, 3, 4, 5]


def test_who_finds_the_queue_full_waits_until_the_deadline(device: Device) -> None:
    with full_batcher(device) as batcher:
        with pytest.raises(DeadlineExceeded, match="2 items were waiting"):
            batcher.submit(3, deadline_ns=time.time_ns() + 10_000_000)
        device.let_go()
    assert [list(batch) for batch in device.batches] == [[0], [1], [2]]


def test_who_waits_for_room_is_told_that_the_batcher_closes(device: Device) -> None:
    with full_batcher(device) as batcher, ThreadPoolExecutor(1) as callers:
        submitted = callers.submit(batcher.submit, 3)
        assert not wait([submitted], timeout=0.05).done
        closing = threading.Thread(target=batcher.close)
        closing.start()
        with pytest.raises(BatcherClosed):
            submitted.result(LONG)
        device.let_go()
        closing.join(LONG)
    assert [list(batch) for batch in device.batches] == [[0], [1], [2]]


def test_an_item_past_its_deadline_is_not_computed(device: Device) -> None:
    with DynamicBatcher(device.run, 4, 0.0, capacity=10) as batcher:
        first = batcher.submit(0)
        device.entered.acquire()
        late = batcher.submit(1, deadline_ns=time.time_ns() - 1)
        in_time = batcher.submit(2, deadline_ns=time.time_ns() + int(LONG * 1e9))
        device.let_go()
        assert (first.result(LONG), in_time.result(LONG)) == (0, 4)
        with pytest.raises(DeadlineExceeded):
            late.result(LONG)
    assert [list(batch) for batch in device.batches] == [[0], [2]]


def test_a_cancelled_item_is_not_computed(device: Device) -> None:
    with DynamicBatcher(device.run, 4, 0.0, capacity=10) as batcher:
        batcher.submit(0)
        device.entered.acquire()
        cancelled, kept = batcher.submit(1), batcher.submit(2)
        assert cancelled.cancel()
        device.let_go()
        assert kept.result(LONG) == 4
    assert [list(batch) for batch in device.batches] == [[0], [2]]


def fail(batch: Batch[int]) -> list[int | Exception]:
    raise OSError("device lost")


def too_few(batch: Batch[int]) -> list[int | Exception]:
    return []


@pytest.mark.parametrize(("run", "error"), [(fail, OSError), (too_few, RuntimeError)])
def test_a_batch_that_fails_fails_its_items_and_the_batcher_goes_on(
    run: Callable[[Batch[int]], list[int | Exception]], error: type[Exception]
) -> None:
    broken = threading.Event()

    def first_breaks(batch: Batch[int]) -> list[int | Exception]:
        if not broken.is_set():
            broken.set()
            return run(batch)
        return double(batch)

    with DynamicBatcher(first_breaks, 1, 0.0, capacity=10) as batcher:
        with pytest.raises(error):
            batcher.submit(1).result(LONG)
        assert batcher.submit(2).result(LONG) == 4


def test_an_exception_as_a_result_is_that_items_alone() -> None:
    def odd_ones_fail(batch: Batch[int]) -> list[int | Exception]:
        return [ValueError(str(item)) if item % 2 else item for item in batch]

    with DynamicBatcher(odd_ones_fail, 2, LONG, capacity=10) as batcher:
        good, bad = batcher.submit(2), batcher.submit(3)
        assert good.result(LONG) == 2
        with pytest.raises(ValueError, match="3"):
            bad.result(LONG)


def test_close_computes_what_waits_and_takes_no_more() -> None:
    batcher = DynamicBatcher(double, 10, LONG, capacity=10)
    future = batcher.submit(1)
    batcher.close()
    batcher.close()
    assert future.result(0) == 2
    with pytest.raises(BatcherClosed):
        batcher.submit(2)


@pytest.mark.parametrize("wrong", [(0, 0.0, 1, 1), (1, -1.0, 1, 1), (1, 0.0, 0, 1), (1, 0.0, 1, 0)])
def test_settings_that_can_not_work(wrong: tuple[int, float, int, int]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        DynamicBatcher(double, *wrong)
