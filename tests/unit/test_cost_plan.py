"""The projection: exact break-even points, the objective, scales, sensitivity, the map, the command."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.commands.plan import plan as plan_command
from bench.cost.architectures import Architecture
from bench.cost.break_even import (
    cost_break_even_speeds,
    device_hours_break_even_images,
    device_hours_break_even_speed,
    fluid_break_even_speed,
    one_instance_speed,
)
from bench.cost.decision_figure import draw_decision_map
from bench.cost.decision_map import ARCHITECTURES, UNDECIDED, MapAxis, compute_grid
from bench.cost.inputs import Coefficients, DeviceModel, PlanInputs, PoolPolicy
from bench.cost.plan import daily_cost, estimated_p95_seconds, make_plan, sensitivity, yearly_cost
from bench.cost.pools import live_pool, nightly_pool
from bench.cost.pricebook import PriceBook
from bench.cost.provenance import Figure, Kind, derived
from bench.cost.simulator import simulate
from signals.errors import ConfigurationError

IMAGES = 8_600_000


def inputs(images: float = IMAGES, speed: float = 382.0, **coefficients: float) -> PlanInputs:
    found = Coefficients.load()
    for name, value in coefficients.items():
        found = found.with_value(name, value)
    device = DeviceModel.load("l4-daft").with_speed(speed)
    return PlanInputs(images, device, found, PriceBook.load())


def flat(speed: float) -> PlanInputs:
    return inputs(speed=speed, peak_to_mean=1.0, utilisation_target=1.0, provisioning_seconds=0.0)


def test_one_always_on_device_equals_the_batch_at_99_5_images_a_second() -> None:
    exact = device_hours_break_even_speed(Fraction(IMAGES))
    assert exact == Fraction(5375, 54)
    assert round(float(exact), 1) == 99.5
    assert device_hours_break_even_images(exact) == IMAGES
    assert make_plan(inputs()).device_hours_break_even == float(exact)


def test_the_sized_pools_hold_the_same_hours_at_the_break_even_speed() -> None:
    at = flat(float(device_hours_break_even_speed(Fraction(IMAGES))))
    stream, night = live_pool(at, "stream"), nightly_pool(at)
    assert (stream.devices, stream.allocated_hours) == (1, 24.0)
    assert night.allocated_hours == pytest.approx(24.0, rel=1e-14)
    assert stream.idle_hours == pytest.approx(0, abs=1e-12)
    simulated = simulate(at, Architecture.LAMBDA_NIGHTLY).pools["nightly"]
    assert simulated.allocated_hours == pytest.approx(24.0, rel=1e-14)


@given(st.floats(1.001, 100))
def test_a_faster_device_idles_in_the_stream(faster: float) -> None:
    at = flat(faster * IMAGES / 86_400)
    assert live_pool(at, "stream").allocated_hours == 24.0
    assert nightly_pool(at).allocated_hours == pytest.approx(24.0 / faster)
    assert live_pool(at, "stream").idle_hours == pytest.approx(24.0 * (1 - 1 / faster))


def test_at_a_cost_break_even_both_cost_the_same() -> None:
    near = inputs(results_per_put=2.0)
    speeds = cost_break_even_speeds(near)
    assert speeds
    for speed in speeds:
        at = replace(near, device=near.device.with_speed(speed))
        kappa, night = (
            daily_cost(at, a).total().amount for a in (Architecture.KAPPA, Architecture.LAMBDA_NIGHTLY)
        )
        assert kappa == pytest.approx(night, rel=1e-9)


def test_at_scale_the_costs_cross_at_the_fluid_break_even() -> None:
    large = inputs(images=1e11)
    speed = fluid_break_even_speed(large)
    assert speed is not None
    assert speed < one_instance_speed(large)
    at = replace(large, device=large.device.with_speed(speed))
    kappa, night = (
        daily_cost(at, a).total().amount for a in (Architecture.KAPPA, Architecture.LAMBDA_NIGHTLY)
    )
    assert kappa == pytest.approx(night, rel=2e-3)


def test_no_break_even_without_prices() -> None:
    priceless = replace(inputs(), book=PriceBook.load().without("g6.xlarge"))
    assert cost_break_even_speeds(priceless) == []
    assert fluid_break_even_speed(priceless) is None


@settings(deadline=None, max_examples=40)
@given(
    images=st.floats(1e4, 1e10),
    speed=st.floats(10, 20_000),
    peak=st.floats(1, 6),
    utilisation=st.floats(0.3, 0.95),
)
def test_lambda_is_the_sum_of_its_paths(images: float, speed: float, peak: float, utilisation: float) -> None:
    at = inputs(images, speed, peak_to_mean=peak, utilisation_target=utilisation)
    cost = {a: daily_cost(at, a).total().amount for a in Architecture}
    # Both paths cost more than either; Kappa's stream holds what Lambda's online path holds.
    assert cost[Architecture.LAMBDA] > max(
        cost[Architecture.LAMBDA_NIGHTLY], cost[Architecture.LAMBDA_ONLINE]
    )
    assert live_pool(at, "stream").allocated_hours == live_pool(at, "online").allocated_hours
    needed = images / 86_400 * peak / (speed * utilisation)
    assert live_pool(at, "stream").devices == max(1, np.ceil(needed - 1e-9))
    scaled = replace(at, pool_policy=PoolPolicy.AUTOSCALED)
    assert live_pool(scaled, "stream").allocated_hours <= live_pool(at, "stream").allocated_hours + 1e-9


def test_the_objective_and_the_consumers_decide_who_qualifies() -> None:
    rows = {row.architecture: row for row in make_plan(inputs()).rows}
    assert rows[Architecture.LAMBDA_NIGHTLY].reasons == ("too late",)
    assert rows[Architecture.LAMBDA_ONLINE].reasons == ("no Hive table",)
    assert rows[Architecture.KAPPA].qualifies
    relaxed = make_plan(replace(inputs(), freshness_seconds=36 * 3600))
    assert relaxed.cheapest is not None
    assert relaxed.cheapest.architecture is Architecture.LAMBDA_NIGHTLY
    impossible = make_plan(replace(inputs(), freshness_seconds=0.001))
    assert impossible.cheapest is None
    assert impossible.verdict == "No architecture meets the objective."


def test_a_year_is_its_days_and_its_upgrades() -> None:
    at = inputs(upgrades_per_year=3.0)
    day = daily_cost(at, Architecture.KAPPA).total()
    without = yearly_cost(inputs(upgrades_per_year=0.0), day)
    assert without.amount == pytest.approx(365 * day.amount)
    plan = make_plan(at)
    corpus_gets = IMAGES * 365 / 1000 * 0.0004
    backfill = plan.rows[0].backfill.total().amount
    device_hours = IMAGES * 365 / 382 / 3600 + 14 * 300 / 3600  # 14 devices finish within the week
    assert backfill == pytest.approx(device_hours * 0.8048 + corpus_gets)
    assert yearly_cost(at, day).amount == pytest.approx(without.amount + 3 * backfill)


def test_machines_with_eight_devices_are_rented_whole() -> None:
    at = replace(inputs(), device=replace(inputs().device, instance="p5.48xlarge"))
    assert live_pool(at, "stream").devices == 8
    hours = [line for line in daily_cost(at, Architecture.KAPPA).lines if line.usage.line == "p5.48xlarge"]
    assert sum(line.usage.quantity for line in hours) == pytest.approx(24.0)


@pytest.mark.parametrize("images", [1e4, 1e6, 1e8, 1e10])
@pytest.mark.parametrize("policy", list(PoolPolicy))
def test_plans_scale_and_the_estimate_agrees_with_the_simulation(images: float, policy: PoolPolicy) -> None:
    at = replace(inputs(images), pool_policy=policy)
    for architecture in Architecture:
        run = simulate(at, architecture, cap=20_000)
        assert run.cost(at).total().amount == pytest.approx(
            daily_cost(at, architecture).total().amount, rel=0.02
        )
        assert run.online.p95_seconds <= 1.05 * estimated_p95_seconds(at, architecture)


def test_sensitivity_is_sorted_and_reproduces_the_plan_at_its_ends() -> None:
    at = inputs()
    rows = sensitivity(at)
    swings = [max(row.swing(a) for a in Architecture) for row in rows]
    assert swings == sorted(swings, reverse=True)
    row = next(row for row in rows if row.name == "results_per_put")
    low = at.with_coefficient("results_per_put", 1.0)
    expected = yearly_cost(low, daily_cost(low, Architecture.LAMBDA).total()).amount
    assert row.cost_low[Architecture.LAMBDA] == pytest.approx(expected)
    assert row.swing(Architecture.KAPPA) == 0
    assert {"device speed", "images per day"} <= {row.name for row in rows}


def test_measured_inputs_make_a_projection_and_assumed_ones_an_assumption() -> None:
    assert make_plan(inputs()).rows[0].daily.total().kind is Kind.ASSUMED
    speed = Figure(382.0, "images/s", Kind.MEASURED, "a run")
    measured = replace(inputs(), device=replace(inputs().device, images_per_second=speed))
    assert make_plan(measured).rows[0].daily.total().kind is Kind.PROJECTED
    assert derived([Kind.ASSUMED, Kind.MEASURED]) is Kind.PROJECTED
    with pytest.raises(ValueError, match="inputs"):
        derived([])


def test_the_map_knows_winners_ties_and_missing_prices() -> None:
    images, speeds = np.array([1e5, 1e9]), np.array([50.0, 5000.0])
    grid = compute_grid(inputs(), images, speeds)
    fresh = grid.decide(60, batch_table=True)
    assert {ARCHITECTURES[i] for i in fresh.winner.ravel()} == {Architecture.KAPPA}
    relaxed = grid.decide(36 * 3600, batch_table=True, tie=0.0)
    assert ARCHITECTURES[relaxed.winner[0, 0]] is Architecture.LAMBDA_NIGHTLY
    assert not relaxed.tied.any()
    assert grid.decide(36 * 3600, batch_table=True, tie=1e9).tied.all()
    assert (grid.decide(1e-6, batch_table=True).winner < 0).all()
    priceless = replace(inputs(), book=PriceBook.load().without("g6.xlarge"))
    undecided = compute_grid(priceless, images, speeds).decide(60, batch_table=True)
    assert (undecided.winner == UNDECIDED).all()
    with pytest.raises(ConfigurationError, match="g6"):
        compute_grid(priceless, images, speeds, axis=MapAxis.PRICE)


@pytest.mark.parametrize("axis", list(MapAxis))
def test_the_figure_is_written(tmp_path: Path, axis: MapAxis) -> None:
    target = tmp_path / "map.svg"
    maps = draw_decision_map(inputs(), target, axis=axis, resolution=(7, 6), simulated_resolution=(4, 3))
    assert len(maps) == 2
    assert target.read_text().lstrip().startswith("<?xml")


def run_command(*arguments: str) -> str:
    result = CliRunner().invoke(plan_command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_prints_tables_and_writes_files(tmp_path: Path) -> None:
    text = run_command(
        "--images-per-day", "8.6M", "--focus", str(tmp_path / "cost.csv"), "--provisioning", "84s..10m"
    )
    assert "99.5370" in text
    assert "assumed" in text
    assert (tmp_path / "cost.csv").stat().st_size > 0


def test_the_command_speaks_json() -> None:
    document = json.loads(
        run_command("--images-per-day", "8.6M", "--prices", "aws-us-east-1-2022-06-22", "--json")
    )
    assert document["schema_version"] == 1
    assert document["cheapest"] is None
    cost = document["architectures"]["kappa"]["cost_per_day"]["total"]
    assert cost["is_lower_bound"] is True
    assert cost["missing_prices"] == ["g6.xlarge"]
    assert cost["kind"] == "assumed"


def test_a_measured_device_and_own_coefficients_come_from_files(tmp_path: Path) -> None:
    device, own = tmp_path / "gpu.toml", tmp_path / "own.toml"
    device.write_text(
        'instance = "g4dn.xlarge"\nimages_per_second = 250\nkind = "measured"\nsource = "run 1"\n'
        "max_batch = 8\nbatch_overhead_seconds = 0.004\n"
    )
    own.write_text(
        '[online_overhead_seconds]\nvalue = 0.1\nunit = "s"\nkind = "measured"\nsource = "run 1"\n'
    )
    text = run_command(
        *("--images-per-day", "8.6M", "--device", str(device), "--assumptions", str(own), "--json"),
        *("--nightly-purchase", "spot"),
    )
    document = json.loads(text)
    assert document["architectures"]["kappa"]["cost_per_day"]["total"]["kind"] == "projected"
    assert document["inputs"]["coefficients"]["online_overhead_seconds"]["kind"] == "measured"
    assert document["inputs"]["device"]["per_image_seconds"] == pytest.approx(0.0035)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--images-per-day", "many"),
        ("--images-per-day", "-3"),
        ("--images-per-day", "1M", "--provisioning", "10m..84s"),
        ("--images-per-day", "1M", "--pools", "magic"),
    ],
)
def test_wrong_options_are_refused(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(plan_command, list(arguments)).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--device", "abacus"),
        ("--purchase", "barter"),
        ("--utilisation", "1.5"),
        ("--upgrades-per-year", "inf"),
        ("--device-speed", "1e-30"),
        ("--min-devices", "1" + 30 * "0"),
        ("--peak-to-mean", "0.5"),
        ("--assumptions", "absent.toml"),
        ("--device-instance", "abacus"),
    ],
)
def test_wrong_inputs_are_configuration_errors(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError):
        CliRunner().invoke(plan_command, ["--images-per-day", "1M", *arguments], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--figure", "map.gif"), "ends in .png or .svg or .pdf"),
        (("--figure", "absent/map.png"), "there is no such folder"),
        (("--focus", "cost.txt"), "ends in .csv or .parquet"),
        (("--focus", "absent/cost.csv"), "there is no such folder"),
    ],
)
def test_a_file_that_can_not_be_written_is_refused_before_anything_is_computed(
    arguments: tuple[str, str], said: str
) -> None:
    done = CliRunner().invoke(plan_command, ["--images-per-day", "1M", *arguments])
    assert isinstance(done.exception, ConfigurationError) and said in str(done.exception)
    assert not done.stdout


def test_more_devices_than_can_be_counted_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="give fewer images"):
        CliRunner().invoke(plan_command, ["--images-per-day", "1e30"], catch_exceptions=False)
