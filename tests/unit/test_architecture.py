from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from signals.architecture import (
    AvailabilityEvent,
    DeadLetter,
    MediaEvent,
    RpcEndpoint,
    RunContext,
    S3Endpoint,
)

text = st.text(max_size=40)
number = st.integers(0, 2**62)


@given(st.builds(MediaEvent, number, text, text, text, number, number, text))
def test_media_events_travel_unchanged(event: MediaEvent) -> None:
    assert MediaEvent.from_bytes(event.to_bytes()) == event


@given(st.builds(AvailabilityEvent, number, text, text, number, number, number, st.booleans()))
def test_availability_events_travel_unchanged(event: AvailabilityEvent) -> None:
    assert AvailabilityEvent.from_bytes(event.to_bytes()) == event


@given(st.builds(DeadLetter, number, text, text, number, st.just("online"), text, text, text, number, text))
def test_dead_letters_travel_unchanged(letter: DeadLetter) -> None:
    assert DeadLetter.from_bytes(letter.to_bytes()) == letter


def test_a_context_travels_in_a_private_file(tmp_path: Path) -> None:
    context = RunContext(
        run_id="r",
        arm="kappa",
        replicate=1,
        namespace="kappa1_abc",
        run_dir=tmp_path,
        arm_dir=tmp_path / "arms" / "kappa-1",
        kafka_bootstrap="127.0.0.1:9092",
        s3=S3Endpoint("127.0.0.1:9000", "a", "s", "bucket"),
        postgres_dsn="postgresql://",
        metastore_dsn="postgresql://",
        gss=RpcEndpoint("127.0.0.1", 1, "secret"),
        inference=RpcEndpoint("127.0.0.1", 2, "secret"),
        more_inference=(RpcEndpoint("127.0.0.1", 3, "secret"),),
        day_seconds=30.0,
        model_dir=tmp_path,
        kafka_options={"security.protocol": "SASL_SSL"},
    )
    path = context.save(tmp_path / "deep" / "context.json")
    assert RunContext.load(path) == context
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "secret" not in repr(context.gss)
    assert context.media_topic == "kappa1_abc.media_events"
    ports = [context.for_worker(index).inference.port for index in range(4)]
    assert ports == [2, 3, 2, 3]  # workers share the inference services evenly
    assert context.for_worker(0).more_inference == ()
    shared = dataclasses.replace(context, workers=5, stream_workers=2)
    assert [list(shared.devices_of_stream_worker(worker)) for worker in range(3)] == [
        [0, 1],
        [2, 3, 4],
        [5, 6],
    ]
