"""``lkbench cost``: what a run's device hours, CPU, requests and bytes cost with a price book."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Group, RenderableType
from rich.text import Text

from bench.commands.options import OutputFile, output_option, run_argument
from bench.commands.outcome import warn_if_invalid
from bench.commands.results_console import results_console
from bench.compare.sides import StoredRun
from bench.cost.focus import focus_table, write_focus
from bench.cost.ledger_cost import Total
from bench.cost.measured_inputs import coefficients_toml, device_toml, measured_coefficients
from bench.cost.plan_json import report_document, total_document
from bench.cost.pricebook import DEFAULT_BOOK, ON_DEMAND, PriceBook
from bench.cost.replay import max_batch
from bench.cost.run_cost import ArmCost, Machine, run_costs
from bench.figures_table import figures_table
from bench.ledger_query import open_ledger
from bench.manifest import read_manifest
from bench.run_folder import find_run
from signals.errors import ConfigurationError


@click.command()
@run_argument
@click.option("--prices", default=DEFAULT_BOOK, show_default=True, help="Price book by name, or a TOML file.")
@click.option("--purchase", default=ON_DEMAND, show_default=True, help="How devices are bought: a factor.")
@click.option("--instance", help="Line of the price book that holds the devices, in place of the one found.")
@click.option(
    "--devices-per-instance", type=click.IntRange(1), default=1, show_default=True, help="With --instance."
)
@click.option(
    "--focus", type=OutputFile(".csv", ".parquet"), help="Write FOCUS 1.2 rows of the run: .csv or .parquet."
)
@click.option(
    "--inputs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write device.toml and assumptions.toml to this folder: what the run measured, for lkbench plan.",
)
@output_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def cost(
    run: str,
    prices: str,
    purchase: str,
    instance: str | None,
    devices_per_instance: int,
    focus: Path | None,
    inputs: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """Price what a run took. RUN: an id, a folder or latest.

    Quantities are measured, prices are assumed, so a cost is projected. A day is the run's own compressed
    day: work per image and hours of always-on pools shrink with it, a night's fixed work does not. For a real
    day at your numbers feed `lkbench plan` with what --inputs writes.
    """
    run_dir = find_run(run, output)
    stored = StoredRun.load(run_dir / "result.json")
    warn_if_invalid(stored)
    result = stored.result
    book = PriceBook.load(prices)
    book.require_purchase(purchase)
    if instance is not None:
        book.require_instance(instance)
    machine = Machine(instance, devices_per_instance) if instance else None
    costs = run_costs(result, book, machine, purchase)
    if as_json:
        document = {"run_is_valid": stored.is_valid, **_document(costs, book)}
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        results_console().print(_tables(costs, book))
    if focus is not None:
        start = datetime.fromisoformat(read_manifest(run_dir)["started"]).astimezone(UTC)
        write_focus(focus_table({arm: of.report for arm, of in costs.items()}, book, start=start), focus)
        click.echo(f"wrote {focus}", err=True)
    if inputs is not None:
        for written in _write_inputs(run_dir, result, book, machine, inputs):
            click.echo(f"wrote {written}", err=True)


def _document(costs: Mapping[str, ArmCost], book: PriceBook) -> dict[str, Any]:
    return {
        "price_book": book.name,
        "currency": book.currency,
        "arms": {
            arm: {
                "days": of.report.days,
                "cost_per_day": total_document(of.report.per_day()),
                "cost_per_million_signals": total_document(total) if (total := _per_million(of)) else None,
                "run": report_document(of.report),
                "lines": [
                    {
                        "line": line.usage.line,
                        "stage": line.usage.stage,
                        "quantity": line.usage.quantity,
                        "unit": line.usage.unit,
                        "idle": line.usage.idle,
                        "quantity_kind": str(line.usage.kind),
                        "formula": line.usage.formula,
                        "cost": line.cost,
                        "cost_kind": str(line.kind),
                    }
                    for line in of.report.lines
                ],
            }
            for arm, of in costs.items()
        },
    }


def _per_million(of: ArmCost) -> Total | None:
    return of.report.per_million(of.signals) if of.signals else None


def _tables(costs: Mapping[str, ArmCost], book: PriceBook) -> RenderableType:
    per_day = {arm: 1 / of.report.days for arm, of in costs.items()}
    head = figures_table(f"{book.currency}, {book.name}", *costs)
    head.add_row("per compressed day", *(_money(of.report.per_day()) for of in costs.values()))
    millions = [_per_million(of) for of in costs.values()]
    head.add_row("per million available signals", *(_money(total) if total else "none" for total in millions))
    head.add_row("kind", *(str(of.report.total().kind) for of in costs.values()))
    parts: list[RenderableType] = [head]
    for title, group in (("service", "by_service"), ("stage", "by_stage")):
        by_arm = {arm: getattr(of.report, group)() for arm, of in costs.items()}
        table = figures_table(f"per compressed day, by {title}", *costs)
        for name in dict.fromkeys(name for totals in by_arm.values() for name in totals):
            cells = [
                _money(totals[name].scaled(per_day[arm])) if name in totals else ""
                for arm, totals in by_arm.items()
            ]
            table.add_row(name, *cells)
        parts += [Text(), table]
    notes = [
        "measured: device hours, requests, bytes, CPU seconds. assumed: prices, and which instance holds a "
        "device. projected: every cost.",
        "Processes without a device are priced for the CPU that they took, as if their machines were full.",
    ]
    missing = sorted({name for of in costs.values() for name in of.report.total().missing})
    notes += [f"price missing in {book.name}: {name}; totals marked >= are lower bounds" for name in missing]
    return Group(*parts, Text(), *(Text(note, "dim") for note in notes))


def _money(total: Total) -> str:
    return f"{'>= ' if total.is_lower_bound else ''}{total.amount:.3g}"


def _write_inputs(
    run_dir: Path, result: Mapping[str, Any], book: PriceBook, machine: Machine | None, folder: Path
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    pools = [pool for content in result["arms"].values() for pool in content["device_hours"]["pools"]]
    if not pools:
        raise ConfigurationError(f"{run_dir} has no device session: it measured no device")
    device = pools[0]["device"]
    held = machine or Machine.of(device, book)
    with open_ledger(run_dir) as query:
        model = device_toml(
            query, run_id=run_dir.name, device=device, machine=held, max_batch=max_batch(run_dir)
        )
        coefficients = measured_coefficients(query, result, run_dir.name)
    written = {"device.toml": model, "assumptions.toml": coefficients_toml(coefficients)}
    for name, text in written.items():
        (folder / name).write_text(text)
    return [folder / name for name in written]
