"""The way of a group of attempts from the worker that reads the stream to a device's process, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import orjson

from kappa_pipeline.arrival import Arrival, Attempt
from signals.architecture import MediaEvent
from signals.ledger import Ledger


class Lane:
    """The reader's end: carries one group at a time. ``device`` is the number of that which it leads to."""

    def __init__(self, connection: Connection, device: int) -> None:
        self._connection, self.device = connection, device

    def fileno(self) -> int:
        """What becomes readable when a group is back, or its process has ended."""
        return self._connection.fileno()

    def send(self, group: Sequence[Attempt]) -> None:
        """Hand a group over. Raises OSError when the process has ended."""
        self._connection.send_bytes(orjson.dumps(list(group)))

    def receive(self, group: Sequence[Attempt]) -> None:
        """Note how ``group``, which was sent last, has ended. Raises EOFError or OSError when its process
        has."""
        ends = orjson.loads(self._connection.recv_bytes())
        for attempt, (end_ns, retry_seconds) in zip(group, ends, strict=True):
            attempt.end_ns, attempt.retry_seconds = end_ns, retry_seconds

    def close(self) -> None:
        """Nothing is sent any more: the process may end."""
        self._connection.close()


def serve(
    connection: Connection, run: Callable[[list[Arrival]], None], ledger: Ledger, *, device: str
) -> None:
    """The other end: ``run`` brings one group after the other to its end, until the reader has closed the
    lane or is gone. ``device`` is what the ledger's rows name. Raises what ``run`` raises."""
    while True:
        try:
            group = orjson.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        arrivals = [Arrival.of(_attempt(**fields), ledger, device) for fields in group]
        run(arrivals)
        ends = [(arrival.rows.end_ns, arrival.attempt.retry_seconds) for arrival in arrivals]
        try:
            connection.send_bytes(orjson.dumps(ends))
        except OSError:
            return


def _attempt(event: dict[str, Any], **others: Any) -> Attempt:
    return Attempt(MediaEvent(**event), **others)
