"""How long who has claimed jobs may wait for one thing: a part of the claim, as other waits follow, and the
job must end, or its claim be prolonged, before another worker is given it too."""

from __future__ import annotations

from signals.architecture import RunContext
from signals.gss import GssClient
from signals.object_store import ObjectStore

PROLONGATIONS_PER_CLAIM = 3


def patience_seconds(claim_seconds: float) -> float:
    """For one server, or until a claim of ``claim_seconds`` is prolonged."""
    return claim_seconds / PROLONGATIONS_PER_CLAIM


def open_object_store(context: RunContext) -> ObjectStore:
    """The run's object store; no GET or PUT of it takes longer, all of its attempts together."""
    half_seconds = patience_seconds(context.claim_seconds) / 2
    return ObjectStore(context.s3, read_timeout_seconds=half_seconds, retry_seconds=half_seconds)


def open_gss(context: RunContext) -> GssClient:
    """The run's store of signals; no call of it takes longer, all of its attempts together."""
    half_seconds = patience_seconds(context.claim_seconds) / 2
    return GssClient.of_run(context, timeout_seconds=half_seconds, retry_seconds=half_seconds)
