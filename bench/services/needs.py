"""Which servers an arm needs, so that a run starts no others."""

from __future__ import annotations

from collections.abc import Iterable

from signals.architecture import Pipeline

KAFKA = "kafka"
OBJECT_STORE = "s3"
METASTORE = "postgres"  # the Hive metastore and PinLater's queues share one server
EVERYTHING = frozenset({KAFKA, OBJECT_STORE, METASTORE})


def servers_needed(arms: Iterable[Pipeline]) -> frozenset[str]:
    """The union of what ``arms`` name in their attribute ``services``; an arm without one needs everything.

    Kafka and the metastore are always among them: the harness's own consumers need both.
    """
    named = (frozenset(getattr(arm, "services", EVERYTHING)) for arm in arms)
    return frozenset({KAFKA, METASTORE}).union(*named) & EVERYTHING
