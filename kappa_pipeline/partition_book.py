"""Which messages of the assigned partitions are taken, in work, acknowledged, and committed, how often.

Faust fetches some messages and throws them away: around a rebalance it drops what it has in hand and seeks
back to the committed offset, which does nothing where none was ever committed. So this book knows which
offset comes next in each partition, lets nothing else pass, and makes the consumer go back where a message
is missing, be it seen by a gap or by silence. Not every offset holds a message, so it asks the broker first.

What was taken is committed along with what is done (see :mod:`kappa_pipeline.deliveries`), so that the next
owner knows what may have killed this one.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from aiokafka.errors import KafkaError
from faust.types import TP

from kappa_pipeline.deliveries import Deliveries
from kappa_pipeline.group_offsets import GroupOffsets
from kappa_pipeline.next_message import NextMessage
from kappa_pipeline.ordered_acks import OrderedAcks
from signals.errors import ServiceError

ANSWER_SECONDS = 5.0

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Assignment(Generic[T]):
    """One partition under one generation of the consumer group. ``expected``: the offset to take next."""

    partition: int
    expected: int
    start: int  # the first offset that was not done when the partition came
    end: int  # of the partition when it came: what lies before may have been delivered to others, unrecorded
    deliveries: Deliveries
    acks: OrderedAcks[T] = field(default_factory=OrderedAcks)
    committed: tuple[int, str] | None = None  # offset and metadata, as the broker has them
    unacked: int = 0  # messages taken, and not acknowledged
    recorded: int = 0  # the broker knows that all before this offset were taken
    silent_at: int = -1  # ``expected`` when the consumer was last seen to be ahead of it

    def to_commit(self) -> tuple[int, str]:
        """The finished prefix, and what was taken beyond it."""
        if self.unacked == 0:
            done = self.expected  # past offsets without a message, too
        else:
            done = self.start if self.acks.next_offset is None else self.acks.next_offset
        return done, self.deliveries.metadata(done, self.expected)


class PartitionBook(Generic[T]):
    """The partitions of ``topic`` that this worker has. Lives on the application's loop."""

    def __init__(self, app: Any, topic: str, next_message: NextMessage) -> None:
        self._app, self._topic, self._next_message = app, topic, next_message
        self._offsets = GroupOffsets(app, topic)
        self._committing = asyncio.Lock()
        self._generation: int | None = None
        self._assignments: dict[int, Assignment[T]] = {}
        self._opening = asyncio.Lock()
        self._abandoned = False

    @property
    def partitions(self) -> list[int]:
        """The partitions that are open, in order."""
        return sorted(self._assignments)

    @property
    def unacked(self) -> int:
        """Messages of the open partitions that were taken and are not acknowledged."""
        return sum(assignment.unacked for assignment in self._assignments.values())

    def holds(self, assignment: Assignment[T]) -> bool:
        """Whether what is done for it still counts; otherwise its messages are delivered to others."""
        return self._assignments.get(assignment.partition) is assignment

    async def open(self) -> None:
        """Find out which partitions there are and where each goes on, if a rebalance has changed that."""
        async with self._opening:
            generation = self._app.consumer_generation_id
            if self._generation == generation or not self._app.flow_control.is_active():
                return
            consumer = self._app.consumer
            tps = [tp for tp in consumer.assignment() if tp.topic == self._topic]
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await consumer.seek_to_committed()
                    committed = await self._offsets.fetch(tp.partition for tp in tps)
                    earliest = await consumer.earliest_offsets(*tps) if tps else {}
                    ends = await consumer.highwaters(*tps) if tps else {}
            except (KafkaError, TimeoutError) as error:
                log.info("the partitions are changing: %r", error)
                return
            if self._app.consumer_generation_id != generation:
                return
            self._assignments = {}
            for tp in tps:
                offset, metadata = committed.get(tp.partition, (0, ""))
                start = max(offset, earliest[tp])
                self._assignments[tp.partition] = Assignment(
                    *(tp.partition, start, start, ends[tp], Deliveries(metadata))
                )
            self._generation = generation

    def close(self) -> None:
        """The partitions are gone; what is still in work for them commits nothing."""
        self._assignments = {}
        self._generation = None

    def abandon(self) -> None:
        """Commit nothing any more: all that is not committed is delivered again."""
        self._abandoned = True

    async def take(self, message: Any) -> Assignment[T] | None:
        """The assignment that the message belongs to; None if it is not its turn, or no longer ours."""
        if message.generation_id != self._generation:
            await self.open()
        if message.generation_id != self._generation or not self._app.flow_control.is_active():
            return None  # of an earlier assignment: it is delivered again, here or elsewhere
        assignment = self._assignments.get(message.partition)
        if assignment is None or message.offset < assignment.expected:
            return None  # taken before: the consumer went back
        if message.offset > assignment.expected:
            await self._expect_next(assignment, message.offset)
            if not self.holds(assignment) or message.offset != assignment.expected:
                return None
        assignment.expected += 1
        assignment.unacked += 1
        return assignment

    async def find_silence(self) -> None:
        """Go back in partitions whose messages were fetched, but did not arrive since the last call.

        For use when nothing waits to be taken.
        """
        for assignment in list(self._assignments.values()):
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    position = await self._app.consumer.position(TP(self._topic, assignment.partition))
            except (KafkaError, TimeoutError):
                return  # the partitions are changing
            if position is None or position <= assignment.expected:
                assignment.silent_at = -1
            elif assignment.silent_at == assignment.expected:
                assignment.silent_at = -1
                await self._expect_next(assignment, position)
            else:
                assignment.silent_at = assignment.expected

    async def commit(self) -> None:
        """Commit every partition's finished prefix, and what was taken beyond it. Raises PipelineError."""
        async with self._committing:  # an older state must not overwrite a newer one
            await self._commit()

    def is_recorded(self, assignment: Assignment[T], offset: int) -> bool:
        """Whether work on a message that was taken may begin at once; see :meth:`record`."""
        return offset >= assignment.end or offset < assignment.recorded

    async def record(self, assignment: Assignment[T], offset: int) -> None:
        """Return when work on a message that was taken may begin.

        A message that was there before its owner may have killed the last one, so quickly that nobody knows:
        it is worked on once the broker has its delivery. Others' deliveries are written with the next
        commit, which saves each the way to the broker. Raises PipelineError.
        """
        if not self.is_recorded(assignment, offset):
            async with self._committing:
                if not self.is_recorded(
                    assignment, offset
                ):  # else those who waited with it have had it written
                    await self._commit()

    async def _commit(self) -> None:
        if self._abandoned:
            return
        states = [(a, a.to_commit(), a.expected) for a in self._assignments.values() if a.expected > a.start]
        changed = [(a, state, end) for a, state, end in states if state != a.committed]
        if changed and await self._offsets.commit({a.partition: state for a, state, _ in changed}):
            for assignment, state, taken_until in changed:
                assignment.committed = state
                assignment.recorded = taken_until

    async def _expect_next(self, assignment: Assignment[T], reached: int) -> None:
        """Expect the next message that there is, and go back to it if it lies before ``reached``."""
        asked = assignment.partition, assignment.expected
        try:
            found = await asyncio.to_thread(self._next_message.offset, *asked)
            if not self.holds(assignment):
                return
            assignment.expected = max(assignment.expected, found)
            if assignment.expected < reached:
                log.warning(
                    "partition %d: going back to offset %d", assignment.partition, assignment.expected
                )
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._app.consumer.seek(TP(self._topic, assignment.partition), assignment.expected)
        except (ServiceError, KafkaError, TimeoutError) as error:
            log.warning("partition %d: could not go back: %r", assignment.partition, error)
