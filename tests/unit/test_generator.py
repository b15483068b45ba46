from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from bench.generator import Generator
from bench.generator_report import measure_generator
from bench.images import Dataset, DatasetImage
from bench.load import Load
from bench.seal import seal
from bench.workload import Workload, make_schedule
from signals.architecture import MediaEvent
from signals.catalog import Catalog
from signals.ledger import LEDGER_SCHEMA, Ledger, Stage


def load_of(images: int, *, days: int, day_seconds: float) -> Load:
    schedule = make_schedule(
        Workload.load("mixed"), seed=3, distinct_images=images, days=days, day_seconds=day_seconds
    )
    files = tuple(DatasetImage(Path(), f"{number:032x}", 0, "") for number in range(images))
    return Load(schedule, Dataset("numbers", files, is_shipped=True), Catalog.load(), "lk_test")


def test_every_arrival_is_submitted_in_order_and_has_the_row_that_record_would_write(tmp_path: Path) -> None:
    load = load_of(40, days=2, day_seconds=0.02)
    events: list[MediaEvent] = []
    raw = tmp_path / "ledger" / "raw"
    with Ledger(raw, process="driver", arm="null", replicate=1) as ledger:
        generator = Generator(load, events.append, ledger)
        for day in range(2):
            start_ns = 10**18 * (1 + day)
            generator.run_day(
                day, start_ns, monotonic_offset_ns=start_ns
            )  # all is due since the machine booted
        assert generator.submitted == len(load.schedule) == len(events)
    assert [event.event_id for event in events] == list(range(len(events)))
    assert {event.galaxy for event in events} <= set(load.catalog.galaxies)

    with Ledger(tmp_path / "other" / "ledger" / "raw", process="driver", arm="null", replicate=1) as ledger:
        for event in events:
            ledger.record(
                Stage.ARRIVAL,
                start_ns=event.scheduled_ns,
                end_ns=0,
                path="harness",
                day=event.day,
                event_id=event.event_id,
                image_signature=event.image_signature,
                galaxy=event.galaxy,
                pipeline=event.pipeline,
            )
    bulk, single = (
        pq.read_table(seal(run_dir).path).sort_by("event_id") for run_dir in (tmp_path, tmp_path / "other")
    )
    for name in LEDGER_SCHEMA.names:
        if name != "end_ns":
            assert bulk[name] == single[name], name


def test_events_carry_the_schedule() -> None:
    load = load_of(30, days=3, day_seconds=5.0)
    for day in range(3):
        positions = load.schedule.of_day(day)
        events = list(load.events(day, 1_000))
        assert [event.event_id for event in events] == list(positions)
        assert [event.scheduled_ns - 1_000 for event in events] == load.schedule.offset_ns[
            positions.start : positions.stop
        ].tolist()
        for event in events:
            image = load.dataset.images[load.schedule.image[event.event_id]]
            assert event.object_key == f"lk_test/images/{image.image_signature}"
            assert event.day == day


def test_the_generator_s_report_counts_every_arrival_of_its_ledger() -> None:
    report = measure_generator(1_000, 0.05)
    assert report.arrivals == 50
    assert 0 <= report.delay_p50_seconds <= report.delay_p99_seconds <= report.delay_max_seconds
