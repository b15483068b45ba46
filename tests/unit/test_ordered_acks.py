"""Whatever the order in which work ends, only a prefix is ever acknowledged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kappa_pipeline.ordered_acks import OrderedAcks


def test_the_head_holds_back_what_finished_after_it() -> None:
    acks: OrderedAcks[str] = OrderedAcks()
    for offset, item in enumerate("abc"):
        acks.start(offset, item)
    assert acks.finish(2).acked == []
    assert acks.finish(1).acked == []
    assert acks.next_offset is None
    assert acks.finish(0).acked == ["a", "b", "c"]
    assert acks.next_offset == 3


def test_a_barrier_is_handed_out_once_and_only_when_all_before_it_is_acknowledged() -> None:
    acks: OrderedAcks[str] = OrderedAcks()
    acks.start(7, "image")
    assert acks.start(8, "heartbeat", barrier=True).barrier is None
    acks.start(9, "later image")
    assert acks.finish(9).barrier is None
    with pytest.raises(ValueError, match="before the messages ahead of it"):
        acks.finish(8)
    released = acks.finish(7)
    assert (released.acked, released.barrier) == (["image"], "heartbeat")
    assert acks.start(10, "another").barrier is None
    assert acks.next_offset == 8
    assert acks.finish(8).acked == ["heartbeat", "later image"]


def test_a_barrier_with_nothing_before_it_is_handed_out_at_once() -> None:
    acks: OrderedAcks[str] = OrderedAcks()
    assert acks.start(0, "heartbeat", barrier=True).barrier == "heartbeat"
    released = acks.finish(0)
    assert (released.acked, released.barrier) == (["heartbeat"], None)


def test_wrong_calls_are_refused() -> None:
    acks: OrderedAcks[str] = OrderedAcks()
    acks.start(3, "a")
    with pytest.raises(ValueError, match="started after"):
        acks.start(3, "a")
    with pytest.raises(ValueError, match="not being worked on"):
        acks.finish(4)
    acks.finish(3)
    with pytest.raises(ValueError, match="not being worked on"):
        acks.finish(3)


@given(
    first=st.integers(0, 1_000),
    barriers=st.lists(st.booleans(), max_size=30),
    choices=st.lists(st.integers(0, 1_000_000), max_size=200),
)
def test_for_any_interleaving_the_acknowledged_offsets_are_a_prefix(
    first: int, barriers: list[bool], choices: list[int]
) -> None:
    acks: OrderedAcks[int] = OrderedAcks()
    waiting = [(first + index, barrier) for index, barrier in enumerate(barriers)]
    started: list[int] = []
    may_finish: set[int] = set()
    finished: set[int] = set()
    acked: list[int] = []
    announced: list[int] = []

    def step(choice: int | None) -> bool:
        if waiting and (not may_finish or (choice is not None and choice % 2)):
            offset, barrier = waiting.pop(0)
            started.append(offset)
            released = acks.start(offset, offset, barrier=barrier)
            if not barrier:
                may_finish.add(offset)
        elif may_finish:
            offset = sorted(may_finish)[(choice or 0) // 2 % len(may_finish)]
            may_finish.remove(offset)
            finished.add(offset)
            released = acks.finish(offset)
        else:
            return False
        acked.extend(released.acked)
        if released.barrier is not None:
            assert acked == started[: started.index(released.barrier)]
            announced.append(released.barrier)
            may_finish.add(released.barrier)
        # A prefix, of finished work only, and as long as it can be.
        assert acked == started[: len(acked)]
        assert set(acked) <= finished
        assert acked == started or started[len(acked)] not in finished
        assert acks.next_offset == (acked[-1] + 1 if acked else None)
        return True

    for choice in choices:
        step(choice)
    while step(None):
        pass
    assert acked == [first + index for index in range(len(barriers))]
    assert announced == [first + index for index, barrier in enumerate(barriers) if barrier]
