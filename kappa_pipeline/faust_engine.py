"""Faust as the stream engine: reads the media topic and commits exactly the finished prefix.

Faust is used for what it does well: group membership, rebalancing, fetching ahead with back pressure. Its
own acknowledgements are off (``acks=False``), because it commits past a message that is still in work once
later ones are done, and acknowledges unseen what a rebalance made stale. :class:`PartitionBook` decides
instead: work that ends after its assignment did commits nothing, the message is delivered again and found
done.

A message that was delivered before is worked on alone. Should it be the one that kills workers, it takes no
other down with it, and is given up after as many attempts as any other failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faust

from kappa_pipeline.arrival import Attempt
from kappa_pipeline.device_lane import Lane
from kappa_pipeline.faust_consumer import DirectConsumer
from kappa_pipeline.faust_security import credentials
from kappa_pipeline.kafka import Message, Publisher, group_id
from kappa_pipeline.media_message import parse_media_event
from kappa_pipeline.next_message import NextMessage
from kappa_pipeline.nrtg import ComputeSignals, StreamPlan
from kappa_pipeline.ordered_acks import Released
from kappa_pipeline.partition_book import Assignment, PartitionBook
from kappa_pipeline.watermark import Watermarks, watermark_message
from kappa_pipeline.work_in_hand import WorkInHand
from signals.architecture import MediaEvent, RunContext
from signals.attempts import retry_seconds
from signals.catalog import Catalog
from signals.counters import count_consumed
from signals.errors import ImageError, PipelineError

LARGEST_GROUP = 32  # messages that share calls, or a batch of the device's where that is more
GROUPS_IN_WORK = 4  # of that size, for each device; messages beyond them wait
_KEY_BYTES = 80  # of an unreadable message's key, for its dead letter
UNACKED = 2_048  # messages taken and not acknowledged, which is what a crash makes another worker repeat
# How often the stream is read on while no lane is idle. More messages could not begin then, and each fetch
# takes CPU from those that have.
READ_ON_SECONDS = 0.04
COMMIT_SECONDS = 0.5  # also for how long a delivery may be unknown to the broker
WATERMARK_SECONDS = 1.0  # between two announcements; midnight's heartbeats are announced at once
SILENCE_SECONDS = 1.0  # a message that was fetched and has not arrived twice this long is taken for lost
LAST_WORK_SECONDS = 3.0  # for what is in work when partitions are to be given away
STOP_SECONDS = 4.0
LAST_GROUPS_SECONDS = 1.0  # for what is at work when the application has stopped

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Taken:
    offset: int
    event_time_ns: int  # Unix ns; 0: not readable as an event


class FaustEngine:
    """Runs a plan in this process until SIGTERM.

    ``lanes`` lead to those who compute; ``on_assigned`` is told the partitions of the media topic whenever
    they change. Raises PipelineError when the broker is lost, Faust fails or a device's process ends: whoever
    supervises the process starts it again, and the committed offsets say where to go on.
    """

    name = "Faust"
    supports: frozenset[type] = frozenset({ComputeSignals})

    def __init__(
        self,
        context: RunContext,
        catalog: Catalog,
        lanes: Sequence[Lane],
        *,
        data_dir: Path,
        on_assigned: Callable[[list[int]], None],
    ) -> None:
        self._context, self._catalog, self._lanes = context, catalog, lanes
        self._data_dir, self._on_assigned = data_dir, on_assigned
        self._watermarks = Watermarks()
        self._largest_group = max(LARGEST_GROUP, context.max_batch)
        self._most_in_work = GROUPS_IN_WORK * self._largest_group * len({lane.device for lane in lanes})
        self._tasks: set[asyncio.Task[object]] = set()
        self._room = asyncio.Event()  # something has ended
        self._buffered: asyncio.Queue[Any] = asyncio.Queue()  # until the agent has its own
        self._taking = False  # a message is on its way from the buffer into work
        self._reported: list[int] = []
        self._next_search = self._next_watermark = 0.0

    def run(self, plan: StreamPlan) -> None:  # noqa: ARG002 (whoever serves the lanes has made the same one)
        """Run until SIGTERM or SIGINT."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        self._app = self._new_app()
        next_message = NextMessage(self._context)
        self._book: PartitionBook[_Taken] = PartitionBook(self._app, self._context.media_topic, next_message)
        self._announcer, self._announcer_thread = Publisher(self._context), ThreadPoolExecutor(1, "announce")
        self._works: WorkInHand[tuple[Assignment[_Taken], _Taken]] = WorkInHand(
            self._lanes,
            largest_group=self._largest_group,
            ended=self._ended,
            wanted=lambda of: self._book.holds(of[0]),
            broken=self._crash,
        )
        await self._app.start()
        try:
            while not stop.is_set():
                if self._app.should_stop:
                    raise PipelineError(f"the Faust application ended: {self._app.crash_reason!r}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), COMMIT_SECONDS)
                # Neither a stop nor a crash waits for a broker that does not answer.
                await self._app.wait_first(self._keep_house(), stop.wait())
        finally:
            self._works.stop()
            for task in self._tasks:
                task.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._app.stop(), STOP_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._works.close(), LAST_GROUPS_SECONDS)

    def _new_app(self) -> Any:
        app = faust.App(
            group_id(self._context),
            broker=[f"kafka://{address}" for address in self._context.kafka_bootstrap.split(",")],
            broker_credentials=credentials(self._context.kafka_options),
            datadir=self._data_dir,
            web_enabled=False,  # it would serve its state on all interfaces
            autodiscover=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            key_serializer="raw",
            value_serializer="raw",
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=6.0,
            broker_heartbeat_interval=0.5,  # also how soon a worker learns of a rebalance
            broker_commit_interval=60.0,  # Faust has nothing to commit
            broker_commit_livelock_soft_timeout=1e9,
            stream_wait_empty=False,  # it would wait for its own acknowledgements
        )
        app.transport.Consumer = functools.partial(
            DirectConsumer,
            has_room=lambda: not self._buffered.full(),
            until_wanted=lambda: self._works.until_idle(READ_ON_SECONDS),
        )
        topic = app.topic(self._context.media_topic, acks=False, key_serializer="raw", value_serializer="raw")

        @app.agent(topic, name="media_events", concurrency=1)  # type: ignore[untyped-decorator]
        async def media_events(stream: Any) -> None:
            self._buffered = stream.channel.queue
            async for event in stream.events():
                self._taking = True
                try:
                    await self._take(event.message)
                except Exception as error:  # Faust would start the agent again and lose the message
                    await app.crash(error)
                finally:
                    self._taking = False

        @app.on_partitions_revoked.connect  # type: ignore[untyped-decorator]
        async def revoked(_app: Any, _revoked: Any, **_: Any) -> None:
            # What is in work when partitions go is delivered again, and counts as delivered twice.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORK_SECONDS):
                    while self._works:
                        await self._until_one_ends()
            await self._book.commit()
            self._book.close()

        return app

    async def _keep_house(self) -> None:
        """What is done at every interval: commit, tell the watermarks, look for lost messages."""
        await self._book.open()
        if self._reported != self._book.partitions:
            self._reported = self._book.partitions
            self._on_assigned(self._reported)
        if time.monotonic() >= self._next_watermark:
            self._next_watermark = time.monotonic() + WATERMARK_SECONDS
            if advanced := self._watermarks.take_advanced():
                self._spawn(
                    self._announce(*(watermark_message(self._context, *of) for of in advanced.items()))
                )
        await self._book.commit()
        if time.monotonic() >= self._next_search and not self._taking and self._buffered.empty():
            self._next_search = time.monotonic() + SILENCE_SECONDS
            await self._book.find_silence()

    async def _take(self, message: Any) -> None:
        """Start work on one message, as soon as there is room for it."""
        count_consumed(message.key, message.value)
        while len(self._works) >= self._most_in_work or self._book.unacked >= UNACKED:
            await self._until_one_ends()
        assignment = await self._book.take(message)
        if assignment is None:
            return
        event, problem = self._parse(message)
        taken = _Taken(message.offset, event.scheduled_ns if not problem else 0)
        if event.kind == "heartbeat":
            self._release(assignment, assignment.acks.start(message.offset, taken, barrier=True))
            return
        self._release(assignment, assignment.acks.start(message.offset, taken))
        attempt = assignment.deliveries.attempt(message.offset)
        alone = attempt > 1
        if alone:
            while self._works:
                await self._until_one_ends()
            await self._book.commit()  # should it kill this worker, what is done counts as no delivery more
        arrival = Attempt(event, attempt, event.scheduled_ns, problem)
        self._works.take(arrival, (assignment, taken))
        if self._book.is_recorded(assignment, taken.offset):
            self._works.start(arrival)
        else:
            self._spawn(self._record_and_start(assignment, taken, arrival))
        while alone and self._works:
            await self._until_one_ends()
        if alone:
            await self._book.commit()

    def _parse(self, message: Any) -> tuple[MediaEvent, str]:
        """The event in a message, or a stand-in and why there is none."""
        try:
            return parse_media_event(message.value, self._catalog), ""
        except ImageError as error:
            key = (message.key or b"")[:_KEY_BYTES].decode("ascii", errors="replace")
            return MediaEvent(-1, key, "", "", -1, time.time_ns(), ""), error.detail or error.reason

    async def _until_one_ends(self) -> None:
        self._room.clear()
        await self._room.wait()

    async def _record_and_start(
        self, assignment: Assignment[_Taken], taken: _Taken, arrival: Attempt
    ) -> None:
        await self._book.record(assignment, taken.offset)
        self._works.start(arrival)

    def _ended(self, of: tuple[Assignment[_Taken], _Taken]) -> None:
        assignment, taken = of
        self._release(assignment, assignment.acks.finish(taken.offset))

    async def _announce(self, *messages: Message) -> None:
        """Publish what may not be lost, beside the stream: tried again until the broker has it."""
        for tries in itertools.count(1):
            try:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._announcer_thread, self._announcer.publish, messages)
            except Exception as error:
                log.warning("a message for %s: %r", messages[0].topic, error)
                await asyncio.sleep(retry_seconds(tries))

    async def _heartbeat(self, assignment: Assignment[_Taken], taken: _Taken) -> None:
        """A heartbeat's turn has come: everything before it is acknowledged. Announce, then acknowledge."""
        await self._announce(watermark_message(self._context, assignment.partition, taken.event_time_ns))
        self._release(assignment, assignment.acks.finish(taken.offset))

    def _release(self, assignment: Assignment[_Taken], released: Released[_Taken]) -> None:
        self._room.set()
        if not self._book.holds(assignment):
            return  # others are delivered all that is not committed
        assignment.unacked -= len(released.acked)
        for taken in released.acked:
            if taken.event_time_ns:
                self._watermarks.advance(assignment.partition, taken.event_time_ns)
        if released.barrier is not None:
            self._spawn(self._heartbeat(assignment, released.barrier))

    def _spawn(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        self._book.abandon()  # a device's process that died had ledger rows of what is done
        log.error("the stream can't go on", exc_info=error)
        self._spawn(self._app.crash(error))
