"""How often a message was delivered, told from owner to owner in one line of metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kappa_pipeline.deliveries import MAX_ENDS, Deliveries

KAFKA_METADATA_BYTES = 4_096


def test_the_first_owner_delivers_everything_for_the_first_time() -> None:
    first = Deliveries()
    assert [first.attempt(offset) for offset in (0, 7)] == [1, 1]
    assert first.metadata(committed=0, expected=0) == ""
    assert first.metadata(committed=5, expected=5) == ""


def test_what_an_owner_had_taken_is_a_second_delivery_for_the_next_one() -> None:
    second = Deliveries(Deliveries().metadata(committed=10, expected=13))
    assert [second.attempt(offset) for offset in (10, 12, 13)] == [2, 2, 1]


def test_a_message_that_kills_its_workers_is_counted_and_those_behind_it_are_not() -> None:
    # It is taken with two others at first; from then on, alone.
    metadata = Deliveries().metadata(committed=10, expected=13)
    for attempt in range(2, 7):
        owner = Deliveries(metadata)
        assert [owner.attempt(offset) for offset in (10, 11, 12, 13)] == [attempt, 2, 2, 1]
        metadata = owner.metadata(committed=10, expected=11)
    given_up = Deliveries(metadata)
    assert Deliveries(given_up.metadata(committed=11, expected=11)).attempt(11) == 2


@pytest.mark.parametrize("metadata", ["", "taken=", "taken=1,", "taken=-1", "somebody else's", "taken=1 "])
def test_metadata_of_somebody_else_counts_as_none(metadata: str) -> None:
    assert Deliveries(metadata).attempt(0) == 1


def test_owners_that_get_nothing_done_do_not_fill_the_metadata() -> None:
    metadata = ""
    for _ in range(10 * MAX_ENDS):
        metadata = Deliveries(metadata).metadata(committed=2**62, expected=2**62 + 5)
        assert len(metadata) <= KAFKA_METADATA_BYTES
    assert Deliveries(metadata).attempt(2**62) == MAX_ENDS + 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_the_count_is_that_of_the_owners_who_took_it(owners: list[tuple[int, int]]) -> None:
    committed, metadata = 0, ""
    taken_by: list[range] = []
    for done, beyond in owners:  # each finishes some, takes some more, and dies
        owner = Deliveries(metadata)
        for offset in range(committed, committed + 12):
            assert owner.attempt(offset) == 1 + sum(offset in taken for taken in taken_by)
        expected = committed + done + beyond
        taken_by.append(range(committed, expected))
        committed += done
        metadata = owner.metadata(committed, expected)
