from __future__ import annotations

import threading

from kappa_pipeline.work_threads import WorkThreads

LONG = 60.0  # seconds; nothing here waits this long


class Desk:
    """What the threads do: note each group, and hold the first back until it is let go."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.started, self.gate = threading.Event(), threading.Event()
        self._done = threading.Condition()

    def run(self, group: list[int]) -> None:
        self.started.set()
        assert self.gate.wait(LONG)
        with self._done:
            self.groups.append(group)
            self._done.notify_all()

    def wait_for(self, count: int) -> None:
        with self._done:
            assert self._done.wait_for(lambda: sum(map(len, self.groups)) >= count, LONG)


def test_one_alone_waits_for_no_other() -> None:
    desk = Desk()
    desk.gate.set()
    threads = WorkThreads([desk.run], largest=8)
    for number in range(3):
        threads.put(number)
        desk.wait_for(number + 1)
    threads.close()
    assert desk.groups == [[0], [1], [2]]


def test_groups_grow_with_what_waits_and_leave_a_share_to_others() -> None:
    desk = Desk()
    threads = WorkThreads([desk.run], largest=8)
    threads.put(0)
    assert desk.started.wait(LONG)
    for number in range(1, 41):
        threads.put(number)
    desk.gate.set()
    desk.wait_for(41)
    threads.close()
    assert [number for group in desk.groups for number in group] == list(range(41))  # in order
    sizes = [len(group) for group in desk.groups]
    assert sizes[:4] == [1, 8, 8, 8]  # at most half of what waits, and no more than a group may have
    assert sizes[-1] == 1 and sizes[1:] == sorted(sizes[1:], reverse=True)


def test_each_thread_has_a_run_of_its_own() -> None:
    desks = [Desk(), Desk()]
    threads = WorkThreads([desk.run for desk in desks], largest=8)
    for number in range(2):
        threads.put(number)
    assert all(desk.started.wait(LONG) for desk in desks)  # each holds one, and neither is let go yet
    for desk in desks:
        desk.gate.set()
        desk.wait_for(1)
    threads.close()


def test_what_is_in_work_is_finished_and_what_waits_is_dropped() -> None:
    desk = Desk()
    threads = WorkThreads([desk.run], largest=8)
    threads.put(0)
    assert desk.started.wait(LONG)
    threads.put(1)
    threads.stop()
    threads.put(2)
    desk.gate.set()
    threads.close()
    assert desk.groups == [[0]]
