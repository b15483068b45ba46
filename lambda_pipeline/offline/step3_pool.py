"""Step 3: the GPU worker pool is spun up with the model; step 4 spins it down when the work is done."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signals.architecture import RunContext
from signals.ledger import Ledger
from signals.process import Child, ProcessGroup

if TYPE_CHECKING:
    from lambda_pipeline.offline.night import Night

WARM_SECONDS = 300.0


def ready_file(arm_dir: Path, index: int) -> Path:
    """Where a worker says that its model is loaded and warm."""
    return arm_dir / f"gpu_worker-{index}.json"


class WorkerPool:
    """The processes of the pool. A worker that dies is started again, as a cluster manager would do."""

    def __init__(self, context: RunContext, context_path: Path, ledger: Ledger) -> None:
        self._context, self._context_path, self._ledger = context, context_path, ledger
        self._group: ProcessGroup | None = None
        self._spin_down: threading.Thread | None = None

    def start(self) -> list[int]:
        """Start all workers and wait until each has its model loaded and warm. Returns their process ids.

        Raises ServiceError when one does not come up.
        """
        group = self._group = ProcessGroup(self._context.log_dir, self._restarted)
        waiting: list[tuple[Child, Path]] = []
        for index in range(self._context.workers):
            ready = ready_file(self._context.arm_dir, index)
            ready.unlink(missing_ok=True)  # of the night before
            argv = ["-m", "lambda_pipeline.offline.gpu_worker", "--context", str(self._context_path)]
            child = group.start(
                f"gpu_worker-{index}", [sys.executable, *argv, "--index", str(index)], restart=True
            )
            waiting.append((child, ready))
        for child, ready in waiting:
            group.wait_for_file(child, ready, WARM_SECONDS)
        return [child.pid for child, _ in waiting]

    def check(self) -> None:
        """Raise ServiceError when a worker keeps dying."""
        if self._group is not None:
            self._group.check()

    def spin_down(self) -> None:
        """Let the pool stop while the night goes on, which needs it no more."""
        if self._group is not None and self._spin_down is None:
            # One after the other, the last would be provisioned, and paid, for longer than it is needed.
            stop = functools.partial(self._group.stop, at_once=True)
            self._spin_down = threading.Thread(target=stop, name="spin-down")
            self._spin_down.start()

    def stop(self) -> None:
        """Spin the pool down and return when it is gone; also when it was never started."""
        self.spin_down()
        if self._spin_down is not None:
            self._spin_down.join()
        self._group = self._spin_down = None

    def _restarted(self, child: Child) -> None:
        self._ledger.process_restarted(child.name, child.restarts, path="nightly", pool="nightly")


def run(night: Night, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Start the pool. A night without jobs needs none."""
    return {"pool_pids": night.pool.start() if inputs["jobs"] else []}
