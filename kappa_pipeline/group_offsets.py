"""The consumer group's committed offsets with their metadata, through the Kafka client inside of Faust.

Faust itself writes empty metadata and reads none. Reaching into it is the price of committing as the member
of the group that it is: the broker refuses a commit by anyone else while the group has members.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from signals.errors import PipelineError


class GroupOffsets:
    """What the group committed for partitions of ``topic``. Lives on the application's loop."""

    def __init__(self, app: Any, topic: str) -> None:
        self._app, self._topic = app, topic

    async def fetch(self, partitions: Iterable[int]) -> dict[int, tuple[int, str]]:
        """Committed offset and metadata of each partition that has any. Raises KafkaError."""
        asked = [TopicPartition(self._topic, partition) for partition in partitions]
        thread = self._app.consumer._thread
        coordinator = thread._ensure_consumer()._coordinator
        found = await thread.call_thread(coordinator.fetch_committed_offsets, asked)
        return {tp.partition: (committed.offset, committed.metadata) for tp, committed in found.items()}

    async def commit(self, offsets: Mapping[int, tuple[int, str]]) -> bool:
        """Commit an offset with its metadata for each partition. False if the group has rebalanced meanwhile.

        Raises PipelineError for anything else that the broker refuses.
        """
        thread = self._app.consumer._thread
        wanted = {
            TopicPartition(self._topic, partition): OffsetAndMetadata(*committed)
            for partition, committed in offsets.items()
        }
        try:
            await thread.call_thread(thread._ensure_consumer().commit, wanted)
        except (CommitFailedError, IllegalStateError):
            return False
        except KafkaError as error:
            raise PipelineError(f"Kafka refuses the offsets of {self._topic}: {error!r}") from error
        return True
