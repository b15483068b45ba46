"""``lkbench plan``: what each architecture would take and cost at your numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from bench.commands.duration import Duration
from bench.commands.options import OutputFile
from bench.commands.plan_tables import plan_report, scales_table
from bench.commands.results_console import results_console
from bench.cost.decision_map import MapAxis
from bench.cost.focus import focus_table, write_focus
from bench.cost.inputs import Coefficients, DeviceModel, PlanInputs, PoolPolicy
from bench.cost.plan import DEFAULT_SCALES, make_plan, sensitivity
from bench.cost.plan_json import plan_document
from bench.cost.pricebook import DEFAULT_BOOK, ON_DEMAND, PriceBook
from bench.cost.provenance import Kind

_COUNT_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}


class Count(click.ParamType):
    """``250k``, ``8.6M`` or ``1e9``: a positive number."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9.eE+-]+?)([a-zA-Z]?)", str(value).replace(",", "").replace("_", ""))
        try:
            number = float(match[1]) * _COUNT_UNITS[match[2]] if match else 0.0
        except (ValueError, KeyError):
            number = 0.0
        if not 0 < number < float("inf"):
            self.fail(f"{value!r}: write for example 8.6M, 250k or 1e9", param, ctx)
        return number


class Band(click.ParamType):
    """``84s..10m``, or one duration; (low, high) in seconds."""

    name = "band"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Both ends, in order."""
        if isinstance(value, tuple):
            return value
        ends = [Duration().convert(end, param, ctx) for end in str(value).split("..")]
        if len(ends) > 2 or ends[0] > ends[-1]:
            self.fail(f"{value!r}: write for example 84s..10m, the lower end first", param, ctx)
        return ends[0], ends[-1]


@click.command()
@click.option("--images-per-day", type=Count(), required=True, help="New images a day, e.g. 8.6M.")
@click.option(
    "--device",
    "device_name",
    default="l4-daft",
    show_default=True,
    help="A shipped device model, or a TOML file with your own measured one.",
)
@click.option("--device-speed", type=Count(), help="Images/s per device, in place of the model's (assumed).")
@click.option(
    "--device-instance", help="Line of the price book that holds the device, in place of the model's."
)
@click.option(
    "--freshness",
    type=Duration(),
    default="60s",
    show_default=True,
    help="95 % of images have to be available to online consumers within this.",
)
@click.option(
    "--table/--no-table", default=True, show_default=True, help="Whether batch consumers need Hive."
)
@click.option("--peak-to-mean", type=float, help="Peak rate over mean rate of a day.")
@click.option("--provisioning", type=Band(), help="Spin-up time of a device, a band such as 84s..10m.")
@click.option("--utilisation", type=float, help="Utilisation target of a live pool, above 0 and at most 1.")
@click.option(
    "--pools",
    type=click.Choice([str(policy) for policy in PoolPolicy]),
    default=str(PoolPolicy.ALWAYS_ON),
    show_default=True,
    help="How the live pool is sized.",
)
@click.option("--min-devices", type=click.IntRange(1), default=1, show_default=True, help="Least in a pool.")
@click.option("--prices", default=DEFAULT_BOOK, show_default=True, help="Price book by name, or a TOML file.")
@click.option("--purchase", default=ON_DEMAND, show_default=True, help="How live pools are bought: a factor.")
@click.option(
    "--nightly-purchase", default=ON_DEMAND, show_default=True, help="How nightly pools are bought."
)
@click.option("--upgrades-per-year", type=float, help="Model upgrades, each a backfill of the whole corpus.")
@click.option("--assumptions", default="", help="TOML file with your own coefficients (see the docs).")
@click.option("--scales", is_flag=True, help="Also the answer at 10 thousand to 10 billion images a day.")
@click.option("--simulate-days", type=click.IntRange(1), default=1, show_default=True, help="Simulated days.")
@click.option("--seed", default=1, show_default=True, help="Seed of the simulation.")
@click.option(
    "--figure", type=OutputFile(".png", ".svg", ".pdf"), help="Write the decision map: .png, .svg or .pdf."
)
@click.option(
    "--map-axis",
    type=click.Choice([str(axis) for axis in MapAxis]),
    default=str(MapAxis.SPEED),
    show_default=True,
    help="Vertical axis of the map.",
)
@click.option(
    "--focus", type=OutputFile(".csv", ".parquet"), help="Write a day's cost as FOCUS 1.2: .csv, .parquet."
)
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON on stdout, in place of tables.")
def plan(
    images_per_day: float,
    device_name: str,
    device_speed: float | None,
    device_instance: str | None,
    freshness: float,
    table: bool,
    peak_to_mean: float | None,
    provisioning: tuple[float, float] | None,
    utilisation: float | None,
    pools: str,
    min_devices: int,
    prices: str,
    purchase: str,
    nightly_purchase: str,
    upgrades_per_year: float | None,
    assumptions: str,
    scales: bool,
    simulate_days: int,
    seed: int,
    figure: Path | None,
    map_axis: str,
    focus: Path | None,
    as_json: bool,
) -> None:
    """Size, price and simulate each architecture at your numbers, and say where the answer flips.

    Every figure says whether it was measured, projected or assumed. No figure is Pinterest's.

    \b
    Examples:
      lkbench plan --images-per-day 8.6M                       with the shipped assumptions
      lkbench plan --images-per-day 8.6M --device my-gpu.toml  with your own measured device
      lkbench plan --images-per-day 8.6M --figure map.png --focus cost.csv
    """
    given = {
        "peak_to_mean": peak_to_mean,
        "utilisation_target": utilisation,
        "upgrades_per_year": upgrades_per_year,
    }
    book = PriceBook.load(prices)
    book.require_purchase(purchase, nightly_purchase)
    if device_instance is not None:
        book.require_instance(device_instance)
    inputs = PlanInputs(
        images_per_day=images_per_day,
        device=_device(device_name, device_speed, device_instance),
        coefficients=_coefficients(assumptions, given, provisioning),
        book=book,
        freshness_seconds=freshness,
        batch_table=table,
        pool_policy=PoolPolicy(pools),
        min_devices=min_devices,
        online_purchase=purchase,
        nightly_purchase=nightly_purchase,
    )
    made = make_plan(inputs, seed=seed, days=simulate_days)
    swings = sensitivity(inputs)
    at_scales = (
        [make_plan(replace(inputs, images_per_day=n), seed=seed) for n in DEFAULT_SCALES] if scales else []
    )
    if as_json:
        document = plan_document(made, swings, at_scales)
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        console = results_console()
        console.print(plan_report(made, swings))
        if at_scales:
            console.print(scales_table(at_scales))
    if focus is not None:
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        write_focus(focus_table({str(r.architecture): r.daily for r in made.rows}, book, start=today), focus)
        click.echo(f"wrote {focus}", err=True)
    if figure is not None:
        _draw(inputs, figure, MapAxis(map_axis))


def _device(name: str, images_per_second: float | None, instance: str | None) -> DeviceModel:
    device = DeviceModel.load(name)
    if images_per_second is not None:
        device = device.with_speed(images_per_second, "given with --device-speed", Kind.ASSUMED)
    return device if instance is None else replace(device, instance=instance)


def _coefficients(
    assumptions: str, given: Mapping[str, float | None], provisioning: tuple[float, float] | None
) -> Coefficients:
    coefficients = Coefficients.load(assumptions)
    source = "given on the command line"
    for name, value in given.items():
        if value is not None:
            coefficients = coefficients.with_value(name, value, source)
    if provisioning is not None:
        coefficients = coefficients.with_band("provisioning_seconds", *provisioning, source)
    return coefficients


def _draw(inputs: PlanInputs, figure: Path, axis: MapAxis) -> None:
    from bench.cost.decision_figure import draw_decision_map  # Matplotlib, for those who draw

    click.echo("drawing the decision map (simulates a grid; up to a minute)", err=True)
    draw_decision_map(inputs, figure, axis=axis)
    click.echo(f"wrote {figure}", err=True)
