from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.capacity import Capacity
from bench.images import Dataset, DatasetImage
from bench.load import write_schedule
from bench.load_plan import LoadPlan, offered
from bench.workload import Late, Workload, read_trace
from signals.catalog import Catalog
from signals.errors import ConfigurationError

DOCS = Path(__file__).parents[2] / "docs" / "workloads.md"


def plan(workload: Workload, images: int, *, is_shipped: bool = True, **options: object) -> LoadPlan:
    files = tuple(DatasetImage(Path(), f"{number:032x}", 0, "") for number in range(images))
    return LoadPlan(
        workload=workload,
        dataset=Dataset("numbers", files, is_shipped=is_shipped),
        catalog=Catalog.load(workload.catalog),
        trace=read_trace(workload.trace) if workload.trace else None,
        namespace="lk_test",
        **{"seed": 1, "days": 1, "day_seconds": None, **options},  # type: ignore[arg-type]
    )


def test_a_shipped_data_set_gives_as_many_images_as_the_rate_takes() -> None:
    load = plan(Workload.load("mixed"), 2_000, days=2, day_seconds=10.0).load(40.0)
    assert len(load.schedule) == 800
    assert len(load.dataset.images) == 720  # 10 % repeats
    with pytest.raises(ConfigurationError, match="needs 3600 distinct images, data set numbers has 2000"):
        plan(Workload.load("mixed"), 2_000, day_seconds=100.0).load(40.0)


def test_all_of_a_user_s_own_images_arrive() -> None:
    load = plan(Workload.load("constant"), 300, is_shipped=False).load(None)
    assert len(load.dataset.images) == 300
    assert load.schedule.day_seconds == pytest.approx(15.0)


def test_poison_replaces_the_asked_share_and_is_the_same_at_every_call() -> None:
    workload = dataclasses.replace(Workload.load("mixed"), poison_share=0.1, late=Late(0.5, "uniform", 0.2))
    first, again = (plan(workload, 500, day_seconds=10.0).load(20.0) for _ in range(2))
    other = plan(workload, 500, day_seconds=10.0, seed=2).load(20.0)
    poisoned = [
        {i for i, image in enumerate(load.dataset.images) if image.name.startswith("poison/")}
        for load in (first, again, other)
    ]
    assert len(poisoned[0]) == first.poisoned_images == 18  # of 180
    assert first.dataset.images == again.dataset.images
    assert poisoned[0] != poisoned[2]
    assert len({image.image_signature for image in first.dataset.images}) == 180

    capacity = Capacity(100.0, 20.0, 0.1, 2, 8, "cpu", 5, 0.5)
    said = offered(first, capacity)
    assert said["load_share"] == pytest.approx(0.2)
    assert said["capacity"]["images_per_second"] == 100.0
    assert said["poisoned_images"] == 18
    assert said["late"]["late_arrivals"] == 100
    assert offered(first, None)["load_share"] is None


def test_the_schedule_is_kept_as_it_was_asked_for(tmp_path: Path) -> None:
    load = plan(Workload.load("pinterest-2020"), 500, day_seconds=10.0).load(20.0)
    table = pq.read_table(write_schedule(tmp_path, load))
    events = list(load.events(0, 0))
    assert table["event_id"].to_pylist() == [event.event_id for event in events]
    assert table["offset_ns"].to_pylist() == [event.scheduled_ns for event in events]
    for name in ("image_signature", "pipeline", "galaxy", "lateness_ns", "day"):
        assert table[name].to_pylist() == [getattr(event, name) for event in events]


def test_the_trace_of_the_docs_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml, python = (
        re.search(rf"```{kind}\n(.*?)```", DOCS.read_text(), re.DOTALL) for kind in ("toml", "python")
    )
    assert toml is not None and python is not None
    monkeypatch.chdir(tmp_path)
    exec(python[1], {})
    (tmp_path / "replay.toml").write_text(toml[1])
    workload = Workload.load(str(tmp_path / "replay.toml"))

    thinned = plan(workload, 5_000, day_seconds=30.0).load(20.0)
    assert len(thinned.schedule) == pytest.approx(600, abs=1)
    repeats = 1 - len(thinned.dataset.images) / len(thinned.schedule)
    assert repeats == pytest.approx(0.2, abs=0.03)

    (tmp_path / "real.toml").write_text(toml[1].replace('"compressed"', '"real"'))
    real = Workload.load(str(tmp_path / "real.toml"))
    whole = plan(real, 5_000, days=2).load(None)
    assert len(whole.schedule) == 6_000
    assert whole.schedule.rate_per_second == pytest.approx(10.0)
    assert whole.schedule.day_seconds == pytest.approx(300.0)
    with pytest.raises(ConfigurationError, match="its own rate"):
        plan(real, 5_000).load(20.0)
    with pytest.raises(ConfigurationError, match="distinct images"):
        plan(real, 100).load(None)
