from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signals.attempts import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS, retry_seconds


@given(st.integers(1, 10_000))
def test_patience_doubles_until_it_is_longest(attempt: int) -> None:
    now, then = retry_seconds(attempt), retry_seconds(attempt + 1)
    assert FIRST_RETRY_SECONDS <= now <= then <= LONGEST_RETRY_SECONDS
    assert then == min(2 * now, LONGEST_RETRY_SECONDS)


def test_the_first_is_the_shortest() -> None:
    assert retry_seconds(1) == FIRST_RETRY_SECONDS
