"""The batch consumer: polls the Hive table and reads each partition that appears or moves.

An image counts as available in batch when this client has read a row of every signal of its galaxy.
"""

from __future__ import annotations

import time
from collections import Counter

from bench.consumers.progress import BatchProgress, batch_progress_file
from bench.consumers.runtime import consumer_context
from signals.architecture import RunContext
from signals.declaration import for_galaxy
from signals.hive import MetastoreReader, read_partition
from signals.ledger import Ledger, Stage
from signals.process import StopSignal, write_ready_file

POLL_SECONDS = 0.1


class BatchClient:
    """Follows the Hive table of one arm and replicate."""

    def __init__(self, context: RunContext, ledger: Ledger) -> None:
        self._ledger = ledger
        self._metastore = MetastoreReader(context.metastore_dsn, context.namespace)
        self._read: dict[tuple[str, int], str] = {}
        self.progress = BatchProgress()

    def poll(self) -> None:
        """Read the partitions that are new since the last poll."""
        for (galaxy, day), location in self._metastore.partitions().items():
            if self._read.get((galaxy, day)) != location:
                self._read_partition(galaxy, day, location)
                self._read[galaxy, day] = location

    def close(self) -> None:
        """Leave the metastore."""
        self._metastore.close()

    def _read_partition(self, galaxy: str, day: int, location: str) -> None:
        table = read_partition(location, columns=["image_signature", "signal"])
        signatures, signals = (table.column(name).to_pylist() for name in table.column_names)
        rows_of = Counter(signature for signature, _ in set(zip(signatures, signals, strict=True)))
        now = time.time_ns()
        complete = [signature for signature, rows in rows_of.items() if rows == len(for_galaxy(galaxy))]
        for signature in complete:
            self._ledger.record(
                Stage.AVAILABLE_BATCH,
                start_ns=now,
                end_ns=now,
                path="consumer",
                day=day,
                image_signature=signature,
                galaxy=galaxy,
                detail=location,
            )
        self.progress.keys += len(complete)
        self.progress.partitions.append(location)


def main() -> None:
    """Run until SIGTERM."""
    context = consumer_context(__doc__)
    stop = StopSignal()
    with Ledger.from_context(context, "batch_client") as ledger:
        client = BatchClient(context, ledger)
        write_ready_file(context.arm_dir / "batch_client.ready", {})
        while not stop.wait(POLL_SECONDS):
            client.poll()
            client.progress.write(batch_progress_file(context.arm_dir))
        client.close()


if __name__ == "__main__":
    main()
