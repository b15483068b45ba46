"""Books devices in the ledger: from the launch of the process that holds them until it lets go."""

from __future__ import annotations

import time
from collections.abc import Sequence

from signals.launched import launched_ns
from signals.ledger import Ledger, Stage


def book_batch(
    ledger: Ledger, device: str, start_ns: int, end_ns: int, batch_size: int, *, pool: str, path: str = ""
) -> None:
    """One batch kept a device busy from ``start_ns`` to ``end_ns``, Unix ns."""
    ledger.record(
        Stage.DEVICE_BUSY,
        start_ns=start_ns,
        end_ns=end_ns,
        path=path,
        pool=pool,
        device=device,
        batch_size=batch_size,
    )


class DeviceSession:
    """Devices of one pool, provisioned since ``since_ns`` (Unix ns), by default the launch of this process.

    Enter it when the model is warm.
    """

    def __init__(
        self, ledger: Ledger, *, path: str, pool: str, devices: Sequence[str], since_ns: int | None = None
    ) -> None:
        self._ledger, self._path, self._pool, self._devices = ledger, path, pool, devices
        self._since_ns = launched_ns() if since_ns is None else since_ns
        self._ready_ns = 0

    def __enter__(self) -> DeviceSession:
        self._ready_ns = time.time_ns()
        self._record(Stage.DEVICE_PROVISIONED, self._since_ns, self._ready_ns)
        return self

    def __exit__(self, *_: object) -> None:
        self._record(Stage.DEVICE_RELEASED, self._ready_ns, time.time_ns())
        self._ledger.flush()  # whatever comes next may take longer than this process is given

    def _record(self, stage: Stage, start_ns: int, end_ns: int) -> None:
        for device in self._devices:
            self._ledger.record(
                stage, start_ns=start_ns, end_ns=end_ns, path=self._path, pool=self._pool, device=device
            )
