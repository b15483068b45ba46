"""The Kappa arm: what the harness calls. Media events go to Kafka; the stream and the dump do the work."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import Any

import orjson

from kappa_pipeline.app import ready_file
from kappa_pipeline.dump_step import last_step
from kappa_pipeline.kafka import GroupLag, new_producer, partitions_of
from signals.architecture import MediaEvent, RunContext
from signals.counters import count_produced
from signals.errors import PipelineError, ServiceError
from signals.ledger import Ledger
from signals.process import Child, ProcessGroup, log_tail
from signals.topics import create_topics

MIN_MEDIA_PARTITIONS = 8
START_SECONDS = 120.0
FLUSH_SECONDS = 30.0
STOP_SECONDS = 8.0
POLL_SECONDS = 0.05
DELIVERIES_SECONDS = 0.1
DRAIN_POLL_SECONDS = 0.5  # each asks the broker, which shares the machine with the stream


class KappaArm:
    """Implements :class:`signals.architecture.Pipeline`."""

    def __init__(self) -> None:
        self._group: ProcessGroup | None = None
        self._ledger: Ledger | None = None
        self._lag: GroupLag | None = None
        self._closed = threading.Event()
        self._poller: threading.Thread | None = None
        self._lost: list[str] = []
        self._last_scheduled_ns = 0

    def start(self, context: RunContext) -> None:
        """Create the topics, start the workers, wait until each has a warm model and its partitions."""
        self._context = context
        self._context_path = context.save(context.arm_dir / "kappa_context.json")
        create_topics(
            context,
            {
                context.media_topic: max(MIN_MEDIA_PARTITIONS, context.stream_workers),  # one each at least
                context.watermark_topic: 1,
            },
        )
        self._ledger = Ledger.from_context(context, "kappa_arm")
        self._producer = new_producer(context)
        self._poller = threading.Thread(target=self._serve_deliveries, name="deliveries", daemon=True)
        self._poller.start()
        self._lag = GroupLag(context)
        self._partitions = partitions_of(self._producer, context.media_topic)
        self._group = ProcessGroup(context.log_dir, on_restart=self._worker_restarted)
        for worker in range(context.stream_workers):
            ready_file(context, worker).unlink(missing_ok=True)
            self._group.start(
                f"stream_worker_{worker}",
                [*self._command("kappa_pipeline.app"), "--worker", str(worker)],
                restart=True,
            )
        self._wait_until_assigned()

    def submit(self, event: MediaEvent) -> None:
        """Produce the event; returns before the broker has it. Raises PipelineError if none is taken any
        more because the broker has been away for long."""
        self._last_scheduled_ns = max(self._last_scheduled_ns, event.scheduled_ns)
        self._produce(event, key=event.image_signature.encode())

    def end_day(self, day: int) -> None:
        """Send a heartbeat of midnight down every partition and run the dump."""
        midnight_ns = max(self._last_scheduled_ns, time.time_ns())
        heartbeat = MediaEvent(-1, "", "", "", day, midnight_ns, "", kind="heartbeat")
        for partition in self._partitions:
            self._produce(heartbeat, partition=partition)
        self._flush()
        group = self._running_group()
        argv = self._command("kappa_pipeline.dump")
        child = group.start(f"dump_day_{day}", [*argv, "--day", str(day), "--midnight-ns", str(midnight_ns)])
        child.expected = True  # its end is reported here, with its code, and not as a process that died
        while child.popen.poll() is None:
            group.check()
            time.sleep(POLL_SECONDS)
        if child.popen.returncode != 0:
            where = self.nightly_step(day) or "its start"
            raise PipelineError(
                f"the dump of day {day} failed in {where} with code {child.popen.returncode}; "
                f"its log is {child.log}"
                f"{log_tail(child.log, lines=1)}"
            )

    def nightly_step(self, day: int) -> str:
        """See :class:`signals.architecture.HasNightlySteps`."""
        return last_step(self._context.arm_dir, day)

    def drain(self, timeout_seconds: float) -> None:
        """Return when the stream has acknowledged every message."""
        self._flush()
        deadline = time.monotonic() + timeout_seconds
        lag = self._running_lag()
        end = lag.end_offsets()  # nothing is submitted any more
        while (left := lag.behind(end)) > 0:
            self._running_group().check()
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"the stream still has {left} messages after {timeout_seconds:.0f} s; the logs of its "
                    f"workers are in {self._context.log_dir}"
                )
            time.sleep(DRAIN_POLL_SECONDS)

    def backlog(self) -> int:
        """Messages submitted and not acknowledged by the stream."""
        return len(self._producer) + self._running_lag().lag()

    def stop(self) -> None:
        """Stop all workers and clients."""
        if self._group is not None:
            self._group.stop(STOP_SECONDS)
        self._closed.set()
        if self._poller is not None:
            self._poller.join()
            self._poller = None
            del self._producer  # closes it
        if self._lag is not None:
            self._lag.close()
            self._lag = None
        if self._ledger is not None:
            self._ledger.close()

    def _command(self, module: str) -> list[str]:
        return [sys.executable, "-m", module, "--context", str(self._context_path)]

    def _wait_until_assigned(self) -> None:
        group = self._running_group()
        deadline = time.monotonic() + START_SECONDS
        while True:
            held = [self._partitions_held(worker) for worker in range(self._context.stream_workers)]
            if all(held) and sorted(p for partitions in held for p in partitions) == self._partitions:
                return
            group.check()
            if any(child.restarts > 2 for child in group.children):
                raise PipelineError(
                    f"a worker of the stream keeps dying; the logs are in {self._context.log_dir}"
                )
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"the workers of the stream did not share out the partitions within {START_SECONDS:.0f} s"
                    f" ({held}); their logs are in {self._context.log_dir}"
                )
            time.sleep(POLL_SECONDS)

    def _partitions_held(self, worker: int) -> list[int]:
        with contextlib.suppress(FileNotFoundError):
            content: dict[str, Any] = orjson.loads(ready_file(self._context, worker).read_bytes())
            return list(content["partitions"])
        return []

    def _produce(self, event: MediaEvent, *, key: bytes | None = None, partition: int = -1) -> None:
        # The message's timestamp is event time, so that a backfill finds a range of it by Kafka's index.
        arguments: dict[str, Any] = {
            "value": event.to_bytes(),
            "key": key,
            "partition": partition,
            "timestamp": event.scheduled_ns // 1_000_000,
            "on_delivery": self._delivered,
        }
        try:
            self._producer.produce(self._context.media_topic, **arguments)
        except BufferError as error:
            raise PipelineError(f"Kafka takes no media events: {error}") from error

    def _delivered(self, error: Any, message: Any) -> None:
        if error is None:
            count_produced(message)
        else:
            self._lost.append(str(error))

    def _serve_deliveries(self) -> None:
        while not self._closed.is_set():
            self._closed.wait(DELIVERIES_SECONDS)  # who waits in poll() is woken for each message
            self._producer.poll(0)

    def _flush(self) -> None:
        left = self._producer.flush(FLUSH_SECONDS)
        if left or self._lost:
            raise ServiceError(f"Kafka did not take {left or len(self._lost)} media events: {self._lost[:1]}")

    def _worker_restarted(self, child: Child) -> None:
        if self._ledger is not None:
            self._ledger.process_restarted(child.name, child.restarts, path="stream")

    def _running_group(self) -> ProcessGroup:
        if self._group is None:
            raise PipelineError("the Kappa arm was not started")
        return self._group

    def _running_lag(self) -> GroupLag:
        if self._lag is None:
            raise PipelineError("the Kappa arm was not started")
        return self._lag
