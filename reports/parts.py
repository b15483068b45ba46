"""What each part of a wait is, in a sentence for people; ``docs/method.md`` has the same list."""

from __future__ import annotations

MEANINGS = {
    "generator": "from the scheduled time until the harness had handed the image over",
    "overtaken": "until the repeat that was announced before the first arrival had been handed over",
    "wait_for_midnight": "from the scheduled time to the midnight of its day",
    "night_start": "from midnight to the first nightly step",
    "watermark": "the stream passes midnight",
    "checkpoint": "the key-value store is frozen for the dump",
    "spark_session": "Spark starts",
    "delta": "which images of the day have no signal yet",
    "enqueue": "they become jobs of the queue",
    "pool": "devices are brought up, with the model",
    "earlier_attempts": "attempts that failed before the one that ended the wait",
    "queue": "until a worker took it",
    "lookup": "its signals were there already, and were only looked up",
    "fetch": "its bytes are read from S3",
    "decode": "from bytes to pixels",
    "batch_wait": "until its batch was full or due, and a device was free",
    "inference": "the model runs on its batch",
    "job_wait": "until the other images of its job were done",
    "encode": "from values to records",
    "write": "records are stored",
    "wait_for_pool": "its own outputs are written, the pool is still busy with others",
    "protobuf": "outputs of the night, as Protobuf on S3",
    "thrift": "Spark encodes them anew, as Thrift",
    "hive": "they are written as a partition of the Hive table",
    "transform": "Spark writes the store's content as a partition of the Hive table",
    "swap": "the partition is checked and becomes visible",
    "publish": "the availability event is sent, up to the moment at which the client had the signals",
    "notice": "from the last stamp until the client was told and had fetched",
    "read": "from the last stamp until the client had noticed the partition and read it",
    "between_steps": "a gap before a nightly step that nothing else fills",
    "unrecorded": "time that no row of the ledger accounts for",
    "after_midnight": "a total: all that came after the midnight of its day",
    "whole": "the wait itself",
}


def meaning(part: str) -> str:
    """The sentence; a step of an arm of the user's own has none but its name."""
    return MEANINGS.get(part, "a step of the arm's own")
