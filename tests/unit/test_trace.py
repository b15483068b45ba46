"""Traces of a user's own: every way to write a time, what is refused, and what of a trace a run keeps."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.workload import Arrivals, Trace, TraceSource, Workload, read_trace, replay_schedule
from signals.errors import ConfigurationError

START = dt.datetime(2020, 12, 31, 23, 59, 50, tzinfo=dt.UTC)
SECONDS = [0.0, 2.5, 5.0, 10.0]  # after START, across midnight
TIMES = [START + dt.timedelta(seconds=s) for s in SECONDS]
# four arrivals at their mean distance: the trace is 40/3 s long
FRACTIONS = np.array(SECONDS) / (10.0 * 4 / 3)

COLUMNS: dict[str, pa.Array] = {
    **{f"timestamp[{u}]": pa.array(TIMES, pa.timestamp(u, "UTC")) for u in ("ms", "us", "ns")},
    "without zone": pa.array([t.replace(tzinfo=None) for t in TIMES], pa.timestamp("us")),
    "another zone": pa.array(TIMES, pa.timestamp("us", "America/Los_Angeles")),
    "seconds": pa.array([t.timestamp() for t in TIMES]),
    "milliseconds": pa.array([round(t.timestamp() * 1e3) for t in TIMES]),
    "microseconds": pa.array([round(t.timestamp() * 1e6) for t in TIMES]),
    "nanoseconds": pa.array([round(t.timestamp() * 10) * 10**8 for t in TIMES]),
    "from zero": pa.array(SECONDS),
    "decimal": pa.array([Decimal(str(s)) for s in SECONDS]),
    "text": pa.array([t.isoformat() for t in TIMES]),
    "text of another zone": pa.array(
        [t.astimezone(dt.timezone(dt.timedelta(hours=-8))).isoformat() for t in TIMES]
    ),
}


def source(path: Path, **options: Any) -> TraceSource:
    return TraceSource(path, **{"column": "at", **options})


def write(folder: Path, columns: dict[str, Any], suffix: str = ".parquet") -> Path:
    path, table = folder / f"trace{suffix}", pa.table(columns)
    if suffix == ".parquet":
        pq.write_table(table, path)
    else:
        pyarrow.csv.write_csv(table, path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_time_may_be_of_any_usual_type_and_unit(tmp_path: Path, name: str, suffix: str) -> None:
    trace = read_trace(source(write(tmp_path, {"at": COLUMNS[name]}, suffix)))
    assert trace.fraction == pytest.approx(FRACTIONS, abs=1e-9)
    assert trace.seconds == pytest.approx(40 / 3)


def test_a_unit_that_is_given_is_not_guessed(tmp_path: Path) -> None:
    path = write(tmp_path, {"at": [0, 500, 1000]})
    assert read_trace(source(path)).seconds == pytest.approx(1500)
    assert read_trace(source(path, unit="ms")).seconds == pytest.approx(1.5)


def test_dates_and_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    days = [dt.date(2020, 1, 2), dt.date(2020, 1, 1), dt.date(2020, 1, 1)]
    path = write(tmp_path, {"at": days, "image": ["c", "b", "a"]})
    trace = read_trace(source(path, image_column="image"))
    assert trace.image is not None
    assert trace.image.tolist() == [1, 0, 2]  # b, a, c
    evenly = read_trace(source(write(tmp_path, {"at": [7, 7, 7, 7]})))
    assert evenly.fraction.tolist() == [0, 0.25, 0.5, 0.75]
    assert evenly.seconds == 0


def test_columns_say_which_pipeline_and_which_image(tmp_path: Path) -> None:
    path = write(tmp_path, {"at": [30, 10, 20], "via": ["shopping", "crawled", "shopping"], "key": [7, 9, 7]})
    trace = read_trace(source(path, pipeline_column="via", image_column="key"))
    assert trace.pipeline is not None and trace.image is not None
    assert [trace.pipelines[i] for i in trace.pipeline] == ["crawled", "shopping", "shopping"]
    assert trace.image[1] == trace.image[2] != trace.image[0]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"at": [1], "b": [2]}, {"column": "time"}, "has no column 'time'; it has at, b"),
        ({"at": [1]}, {"image_column": "image"}, "has no column 'image'"),
        ({"at": pa.array([], pa.int64())}, {}, "has no rows"),
        (
            {"at": [1, None, None]},
            {},
            "2 of 3 rows hold no value that can be read, the first is row 2 with nothing",
        ),
        ({"at": ["2020-01-01", "yesterday"]}, {}, "1 of 2 rows .* the first is row 2 with 'yesterday'"),
        ({"at": [1, 2], "via": ["crawled", None]}, {"pipeline_column": "via"}, "column 'via'"),
        ({"at": [1.0, float("inf")]}, {}, "has an infinite time"),
        ({"at": [[1], [2]]}, {}, "neither a time nor a number"),
        ({"at": [True, False]}, {}, "neither a time nor a number"),
    ],
)
def test_a_bad_trace_says_what_is_wrong(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, columns)
    with pytest.raises(ConfigurationError, match=message) as raised:
        read_trace(source(path, **options))
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "does not exist"),
        ("trace.json", b"{}", "must be a .parquet"),
        ("trace.parquet", b"not a Parquet file", "can't be read"),
        ("trace.csv", b"at\n", "has no rows"),
        ("trace.csv", b"", "trace.csv"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        read_trace(source(tmp_path / name))


REPLAY = Workload("replay", "", Arrivals(process="trace"), 0.0, {"crawled": 1.0})


@given(
    st.lists(st.floats(0, 0.999), min_size=3, max_size=200).map(sorted),
    st.integers(1, 3),
    st.floats(1, 100),
    st.floats(0.1, 50),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_a_replayed_schedule_is_sorted_seeded_and_of_the_asked_rate(
    fractions: list[float], days: int, day_seconds: float, rate: float, with_keys: bool, seed: int
) -> None:
    count = len(fractions)
    keys = np.arange(count, dtype=np.int64) // 2 if with_keys else None  # each image arrives twice
    trace = Trace(np.array(fractions), None, (), keys, 1.0)
    wanted = round(rate * days * day_seconds)
    if max(wanted, 1) < days + 2:
        return
    schedules = [
        replay_schedule(REPLAY, trace, seed=seed, days=days, day_seconds=day_seconds, rate_per_second=rate)
        for _ in range(2)
    ]
    schedule = schedules[0]
    for name in ("offset_ns", "lateness_ns", "day", "image", "pipeline"):
        assert getattr(schedule, name).tobytes() == getattr(schedules[1], name).tobytes()
    at = schedule.day * (day_seconds * 1e9) + schedule.offset_ns
    assert np.all(np.diff(at) >= 0)
    assert schedule.day.max(initial=0) < days
    assert abs(len(schedule) - min(wanted, count)) <= (1 if with_keys else 0)
    assert set(schedule.image.tolist()) == set(range(schedule.distinct_images))
    if with_keys:
        assert schedule.distinct_images == pytest.approx(len(schedule) / 2, abs=0.5)


def test_a_whole_trace_is_replayed_as_it_is() -> None:
    trace = Trace(
        FRACTIONS, np.array([1, 0, 1, 1], np.int32), ("crawled", "shopping"), np.array([5, 3, 5, 9]), 1.0
    )
    schedule = replay_schedule(REPLAY, trace, seed=1, days=2, day_seconds=20 / 3)
    at = schedule.day * (20 / 3) + schedule.offset_ns / 1e9
    assert at == pytest.approx(SECONDS, abs=1e-8)
    assert schedule.days == 2
    assert schedule.rate_per_second == pytest.approx(4 / (40 / 3))
    assert [schedule.pipelines[i] for i in schedule.pipeline] == [
        "shopping",
        "crawled",
        "shopping",
        "shopping",
    ]
    first, second, third, fourth = schedule.image.tolist()
    assert first == third and len({first, second, fourth}) == 3


def test_a_trace_needs_an_arrival_for_each_day() -> None:
    with pytest.raises(ConfigurationError, match="too few for 5 days"):
        replay_schedule(REPLAY, Trace(FRACTIONS, None, (), None, 1.0), seed=1, days=5, day_seconds=1.0)
