"""The Kafka topics of one arm and replicate."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from signals.architecture import RunContext
from signals.errors import ServiceError

# A producer sends a request for each partition: with one, the announcements of a batch are one request.
AVAILABILITY_PARTITIONS = 1
DEAD_LETTER_PARTITIONS = 1
BROKER_DEFAULT = -1
REQUEST_SECONDS = 15.0


def create_topics(context: RunContext, more: Mapping[str, int] | None = None) -> None:
    """Create the topics that every arm publishes to and ``more`` (partitions by name); those that exist stay.

    Raises ServiceError.
    """
    wanted = {
        context.availability_topic: AVAILABILITY_PARTITIONS,
        context.dead_letter_topic: DEAD_LETTER_PARTITIONS,
        **(more or {}),
    }
    topics = [
        NewTopic(topic, num_partitions=count, replication_factor=BROKER_DEFAULT)
        for topic, count in wanted.items()
    ]
    admin = AdminClient(context.kafka_client)
    for topic, future in admin.create_topics(topics, operation_timeout=REQUEST_SECONDS).items():
        try:
            future.result(timeout=REQUEST_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise ServiceError(f"the Kafka topic {topic} can't be created: {error}") from error
