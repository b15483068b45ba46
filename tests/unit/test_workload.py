from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.workload import Arrivals, Late, Workload, make_schedule, rate_curve
from signals.catalog import Catalog
from signals.errors import ConfigurationError

workloads = st.builds(
    Workload,
    name=st.just("generated"),
    description=st.just(""),
    arrivals=st.builds(
        Arrivals,
        process=st.sampled_from(["poisson", "constant"]),
        diurnal_amplitude=st.floats(0, 0.9),
        bursts_per_day=st.integers(0, 3),
        burst_multiplier=st.floats(0.5, 5),
        burst_day_fraction=st.floats(0, 0.2),
    ),
    repeat_share=st.floats(0, 0.8),
    mix=st.just({"crawled": 1.0, "shopping": 3.0}),
    late=st.builds(
        Late,
        share=st.floats(0, 1),
        distribution=st.sampled_from(["exponential", "uniform", "constant"]),
        mean_day_fraction=st.floats(0.001, 2),
    ),
)


@given(workloads, st.integers(0, 2**31), st.integers(1, 300), st.integers(1, 3), st.floats(0.5, 100))
def test_schedule_is_sorted_complete_and_inside_its_days(
    workload: Workload, seed: int, images: int, days: int, day_seconds: float
) -> None:
    schedule = make_schedule(workload, seed=seed, distinct_images=images, days=days, day_seconds=day_seconds)
    assert len(schedule) == max(images, round(images / (1 - workload.repeat_share)))
    assert set(schedule.image.tolist()) == set(range(images))
    assert np.all(np.diff(schedule.day) >= 0)
    assert np.all((schedule.offset_ns >= 0) & (schedule.offset_ns < day_seconds * 1e9 + 1))
    for day in range(days):
        positions = schedule.of_day(day)
        assert np.all(np.diff(schedule.offset_ns[positions.start : positions.stop]) >= 0)
    sizes = [len(schedule.of_day(day)) for day in range(days)]
    assert sum(sizes) == len(schedule)
    assert max(sizes) - min(sizes) <= 1
    assert schedule.rate_per_second == pytest.approx(len(schedule) / (days * day_seconds))
    assert np.all(schedule.lateness_ns >= 0)
    assert np.count_nonzero(schedule.lateness_ns) == round(workload.late.share * len(schedule))


@given(workloads, st.integers(0, 2**31))
def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(workload: Workload, seed: int) -> None:
    first, again, other = (
        make_schedule(workload, seed=s, distinct_images=50, days=2, day_seconds=10.0)
        for s in (seed, seed, seed + 1)
    )
    for name in ("offset_ns", "lateness_ns", "day", "image", "pipeline"):
        assert getattr(first, name).tobytes() == getattr(again, name).tobytes()
    assert first.image.tobytes() != other.image.tobytes()


def test_a_poisson_day_has_exponential_gaps_and_the_asked_rate_curve() -> None:
    workload = Workload("w", "", Arrivals(diurnal_amplitude=0.8), 0.0, {"crawled": 1.0})
    schedule = make_schedule(workload, seed=5, distinct_images=20_000, days=1, day_seconds=100.0)
    counts, edges = np.histogram(schedule.offset_ns / 100e9, bins=20, range=(0, 1))
    expected = rate_curve(workload.arrivals, (edges[:-1] + edges[1:]) / 2)
    expected *= 20_000 / expected.sum()
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))
    flat = make_schedule(
        Workload("w", "", Arrivals(), 0.0, {"crawled": 1.0}),
        seed=5,
        distinct_images=20_000,
        days=1,
        day_seconds=100.0,
    )
    gaps = np.diff(flat.offset_ns)
    assert np.std(gaps) / np.mean(gaps) == pytest.approx(1.0, abs=0.05)


def test_a_constant_day_is_evenly_spaced() -> None:
    schedule = make_schedule(Workload.load("constant"), seed=1, distinct_images=100, days=1, day_seconds=10.0)
    assert np.diff(schedule.offset_ns) == pytest.approx(1e8, abs=2)


@pytest.mark.parametrize("distribution", ["exponential", "uniform", "constant"])
def test_late_arrivals_have_the_asked_mean_and_move_no_other_figure(distribution: str) -> None:
    punctual = Workload("w", "", Arrivals(), 0.2, {"crawled": 1.0})
    late = dataclasses.replace(punctual, late=Late(0.25, distribution, mean_day_fraction=0.1))
    schedules = [
        make_schedule(w, seed=2, distinct_images=8_000, days=2, day_seconds=50.0) for w in (punctual, late)
    ]
    for name in ("offset_ns", "day", "image", "pipeline"):
        assert np.array_equal(getattr(schedules[0], name), getattr(schedules[1], name))
    lateness = schedules[1].lateness_ns[schedules[1].lateness_ns > 0]
    assert len(lateness) == 2_500
    assert lateness.mean() / 1e9 == pytest.approx(5.0, rel=0.1)


def test_lateness_is_told_as_late_out_of_order_and_after_midnight() -> None:
    schedule = dataclasses.replace(
        make_schedule(Workload.load("constant"), seed=1, distinct_images=4, days=2, day_seconds=2.0),
        offset_ns=np.array([500, 1500, 500, 1500]) * 10**6,
        # the second is as old as the first, the third is of the day before but younger than what came, the
        # last is older than the third
        lateness_ns=np.array([0, 1000, 600, 1200]) * 10**6,
    )
    assert schedule.lateness() == {
        "late_arrivals": 3,
        "out_of_order_arrivals": 0,
        "arrivals_after_their_midnight": 1,
    }
    older = dataclasses.replace(schedule, lateness_ns=np.array([0, 1001, 600, 1200]) * 10**6)
    assert older.lateness()["out_of_order_arrivals"] == 1


def test_shipped_workloads_fit_their_catalogs() -> None:
    assert {"mixed", "constant", "pinterest-2020"} == set(Workload.names())
    for name in Workload.names():
        workload = Workload.load(name)
        workload.check_against(Catalog.load(workload.catalog))


def test_pinterest_2020_has_fifty_pipelines_the_five_of_the_default_catalog_among_them() -> None:
    workload = Workload.load("pinterest-2020")
    catalog = Catalog.load(workload.catalog)
    assert len(workload.mix) == len(catalog.pipelines) == 50
    default = Catalog.load()
    assert {name: catalog.pipelines[name] for name in default.pipelines} == default.pipelines


def test_a_catalog_of_a_user_s_own_lies_beside_the_workload(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text("catalog = 'mine.toml'\n[mix]\ncrawled = 1")
    assert Workload.load(str(tmp_path / "w.toml")).catalog == str(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed = 3\n[mix]\ncrawled = 1", "unknown key speed"),
        ("[arrivals]\nproces = 'poisson'\n[mix]\ncrawled = 1", "unknown key arrivals.proces"),
        ("[arrivals]\nprocess = 'steady'\n[mix]\ncrawled = 1", "one of poisson, constant, trace"),
        ("[images]\nrepeat_share = 1.0\n[mix]\ncrawled = 1", "repeat_share"),
        ("[arrivals]\nprocess = 'poisson'", "at least one pipeline"),
        ("= 3", "w.toml"),
        ("catalog = 'unknown'\n[mix]\ncrawled = 1", "there are pinterest-2020"),
        ("[images]\npoison_share = 1\n[mix]\ncrawled = 1", "poison_share is in"),
        ("[late]\nshare = 2\nmean_day_fraction = 1\n[mix]\ncrawled = 1", "late.share"),
        ("[late]\nshare = 0.1\n[mix]\ncrawled = 1", "late.mean_day_fraction is above 0"),
        ("[late]\ndistribution = 'normal'\n[mix]\ncrawled = 1", "late.distribution is one of"),
        ("[late]\nshape = 2", "unknown key late.shape"),
        ("[arrivals]\npath = 'x.csv'\n[mix]\ncrawled = 1", 'path in .arrivals. needs process = "trace"'),
        ("[arrivals]\nprocess = 'trace'\npath = 'x.csv'\n[mix]\ncrawled = 1", "a trace needs column"),
        (
            "[arrivals]\nprocess = 'trace'\npath = 'x.csv'\ncolumn = 't'\nbursts_per_day = 1",
            "bursts_per_day in .arrivals.: a trace has its own",
        ),
        (
            "[arrivals]\nprocess = 'trace'\npath = 'x.csv'\ncolumn = 't'\nunit = 'h'\n[mix]\ncrawled = 1",
            "unit is",
        ),
        (
            "[arrivals]\nprocess = 'trace'\npath = 'x'\ncolumn = 't'\ntiming = 'fast'\n[mix]\ncrawled = 1",
            "timing is one of compressed, real",
        ),
        (
            "[arrivals]\nprocess = 'trace'\npath = 'x'\ncolumn = 't'\npipeline_column = 'p'\n"
            "[mix]\ncrawled = 1",
            "mix is what arrivals.pipeline_column says",
        ),
        (
            "[arrivals]\nprocess = 'trace'\npath = 'x'\ncolumn = 't'\nimage_column = 'i'\n"
            "[images]\nrepeat_share = 0.1\n[mix]\ncrawled = 1",
            "repeat_share is what arrivals.image_column says",
        ),
        (
            "[arrivals]\nbursts_per_day = 1.5",
            "w.toml: arrivals.bursts_per_day must be a whole number, not 1.5",
        ),
        ("[arrivals]\nbursts_per_day = true", "arrivals.bursts_per_day must be a whole number"),
        ("[arrivals]\nprocess = 1", "arrivals.process must be a string"),
        ("[arrivals]\nburst_multiplier = inf", "arrivals.burst_multiplier must be a finite number"),
        ("[images]\nrepeat_share = 'x'", "images.repeat_share must be a finite number"),
        ("[images]\nrepeat_share = nan", "images.repeat_share must be a finite number"),
        ("description = 3", "description must be a string"),
        ("arrivals = 'poisson'", "arrivals must be a section"),
        ("images = [1]", "images must be a section"),
        ("mix = 3", "mix must be a section"),
        ("[mix]\ncrawled = '1'", "mix.crawled must be a finite number"),
        ("[mix]\ncrawled = nan", "mix.crawled must be a finite number"),
        ("[mix]\ncrawled = 1" + "0" * 400, "mix.crawled must be a finite number"),
        ("[mix]\ncrawled = 1" + "0" * 5000, "w.toml"),
    ],
)
def test_a_bad_workload_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "w.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        Workload.load(str(path))


def test_a_workload_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    path.write_bytes("description = 'für alle'".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"w\.toml can't be read"):
        Workload.load(str(path))


def test_whole_numbers_are_fine_where_fractions_are(tmp_path: Path) -> None:
    path = tmp_path / "w.toml"
    path.write_text("[arrivals]\nburst_multiplier = 2\n[images]\nrepeat_share = 0\n[mix]\ncrawled = 1")
    workload = Workload.load(str(path))
    assert (workload.arrivals.burst_multiplier, workload.repeat_share, workload.mix) == (
        2.0,
        0,
        {"crawled": 1},
    )


def test_what_is_no_toml_file_is_not_taken_for_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{tmp_path} is no .toml file: give one, or one of .*mixed"):
        Workload.load(str(tmp_path))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="mixed"):
        Workload.load("no-such-workload")
