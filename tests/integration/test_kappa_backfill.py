"""A range of the past goes through the same stream once more, and only what is missing is computed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from signals.architecture import RunContext
from signals.encodings import decode_thrift
from signals.gss import GssClient
from tests.integration.kappa_harness import Feed, available, dead_letters, jpeg, running_arm
from tests.integration.test_kappa_stream import keys_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def test_a_replayed_range_computes_what_is_missing_for_its_own_day(
    context: Callable[..., RunContext],
) -> None:
    run = context(arm="kappa", workers=1)
    feed = Feed(run)
    start_ns = 1_700_000_000_000_000_000
    before = feed.event(jpeg(5000), day=2, scheduled_ns=start_ns - 5_000_000)
    present = feed.event(jpeg(5001), day=3, scheduled_ns=start_ns)
    absent = feed.event(jpeg(5002), day=3, scheduled_ns=start_ns + 10_000_000)
    after = feed.event(jpeg(5003), day=4, scheduled_ns=start_ns + 20_000_000)
    feed.store._client.remove_object(run.s3.bucket, absent.object_key)
    with running_arm(run) as arm:
        for event in (before, present, absent, after):
            arm.submit(event)
        arm.drain(60)
        assert [d.reason for d in dead_letters(run)] == ["missing_object"]
        seen = len(available(run))

        feed.store.put(absent.object_key, jpeg(5002))
        argv = [sys.executable, "-m", "kappa_pipeline.backfill"]
        argv += ["--context", str(run.arm_dir / "kappa_context.json")]
        argv += ["--start-ns", str(start_ns), "--end-ns", str(start_ns + 20_000_000)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "2 images" in done.stderr
        replayed = [(e.event_id, e.recomputed) for e in available(run)]
        assert len(replayed) == seen + 2
        assert (present.event_id, False) in replayed
        assert (absent.event_id, True) in replayed
        with GssClient.of_run(run) as gss:
            values = gss.multi_get(keys_of(absent.image_signature))
            assert {decode_thrift(value).day for value in values if value is not None} == {3}
