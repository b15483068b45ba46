from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest

from kappa_pipeline.call_groups import CallGroups

LONG = 60.0  # seconds; nothing here waits this long


class Server:
    """Stands for a server: notes each call, and answers once it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def double(self, items: Sequence[int]) -> list[int | Exception]:
        self.calls.append(list(items))
        self.gate.wait(LONG)
        return [item * 2 if item >= 0 else ValueError(str(item)) for item in items]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.gate.set()


def groups(server: Server, *, enough: int = 8, largest: int = 10) -> CallGroups[int, int]:
    return CallGroups(server.double, enough=enough, largest=largest, name="test")


async def gathered(calls: CallGroups[int, int], items: Sequence[int], patience: float = 0.0) -> list[object]:
    waiting = [calls.call(item, patience) for item in items]
    return list(await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), LONG))


def test_what_is_asked_for_in_one_turn_is_one_call_and_no_call_is_too_large(server: Server) -> None:
    calls = groups(server)
    assert asyncio.run(gathered(calls, range(23))) == [2 * item for item in range(23)]
    assert server.calls == [list(range(10)), list(range(10, 20)), [20, 21, 22]]
    calls.close()


def test_what_is_asked_for_during_a_call_goes_into_the_next(server: Server) -> None:
    async def run() -> None:
        server.gate.clear()
        first = asyncio.create_task(calls.call(1))
        while not server.calls:
            await asyncio.sleep(0.001)
        rest = []
        for item in (2, 3, 4):
            rest.append(asyncio.create_task(calls.call(item)))
            await asyncio.sleep(0)
        server.gate.set()
        assert await asyncio.gather(first, *rest) == [2, 4, 6, 8]

    calls = groups(server)
    asyncio.run(run())
    assert server.calls == [[1], [2, 3, 4]]
    calls.close()


def test_a_call_that_has_patience_waits_for_enough_others(server: Server) -> None:
    async def run() -> None:
        patient = [asyncio.create_task(calls.call(item, LONG)) for item in (1, 2)]
        await asyncio.sleep(0.02)
        assert server.calls == []
        assert await calls.call(3, LONG) == 6
        assert await asyncio.gather(*patient) == [2, 4]

    calls = groups(server, enough=3)
    asyncio.run(run())
    assert server.calls == [[1, 2, 3]]
    calls.close()


def test_the_least_patient_decides_and_patience_ends(server: Server) -> None:
    async def run() -> None:
        patient = asyncio.create_task(calls.call(1, LONG))
        await asyncio.sleep(0)
        assert await calls.call(2) == 4
        assert await patient == 2
        assert await calls.call(3, 0.01) == 6

    calls = groups(server)
    asyncio.run(run())
    assert server.calls == [[1, 2], [3]]
    calls.close()


def test_an_exception_of_one_leaves_the_others_alone_and_one_of_the_call_is_everyones(server: Server) -> None:
    calls = groups(server)
    found = asyncio.run(gathered(calls, [1, -2, 3]))
    assert found[::2] == [2, 6] and isinstance(found[1], ValueError)
    calls.close()

    def broken(_: Sequence[int]) -> list[int | Exception]:
        raise OSError("down")

    for run, error in ((broken, OSError), (lambda _: [], RuntimeError)):
        calls = CallGroups(run, enough=8, largest=10, name="test")
        assert [type(found) for found in asyncio.run(gathered(calls, [1, 2]))] == [error, error]
        calls.close()


def test_a_cancelled_call_does_not_disturb_its_group_and_closing_drops_what_waits(server: Server) -> None:
    async def run() -> None:
        server.gate.clear()
        tasks = [asyncio.create_task(calls.call(item)) for item in (1, 2)]
        while not server.calls:
            await asyncio.sleep(0.001)
        tasks[0].cancel()
        late = asyncio.create_task(calls.call(3))
        await asyncio.sleep(0)
        server.gate.set()
        assert await tasks[1] == 4
        late.cancel()

    calls = groups(server)
    asyncio.run(run())
    calls.close()
    assert server.calls[0] == [1, 2]
