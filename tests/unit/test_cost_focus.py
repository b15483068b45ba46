"""Cost as FOCUS rows."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.cost.architectures import Architecture
from bench.cost.focus import SCHEMA, focus_table, write_focus
from bench.cost.inputs import Coefficients, DeviceModel, PlanInputs
from bench.cost.ledger_cost import CostReport, machine_usages
from bench.cost.ledger_cost import cost_of as price
from bench.cost.plan import daily_cost
from bench.cost.pricebook import PriceBook
from bench.cost.provenance import Kind
from signals.errors import ConfigurationError

START = datetime(2026, 7, 20, tzinfo=UTC)
NEVER_NULL = [
    "BillingAccountId",
    "BillingCurrency",
    "ChargeCategory",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ProviderName",
    "ServiceCategory",
    "ServiceName",
    "PricingQuantity",
    "PricingUnit",
    "SkuId",
    "x_Kind",
]


def reports(book: PriceBook) -> dict[str, CostReport]:
    inputs = PlanInputs(8.6e6, DeviceModel.load("l4-daft"), Coefficients.load(), book)
    return {str(a): daily_cost(inputs, a) for a in Architecture}


def test_rows_add_up_to_the_reports(tmp_path: Path) -> None:
    book = PriceBook.load()
    made = reports(book)
    write_focus(focus_table(made, book, start=START), tmp_path / "cost.parquet")
    table = pq.read_table(tmp_path / "cost.parquet")
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    for name, report in made.items():
        own = [row for row in rows if json.loads(row["Tags"])["architecture"] == name]
        assert sum(row["BilledCost"] for row in own) == pytest.approx(report.total().amount)
        unused = [row for row in own if row["CapacityReservationStatus"] == "Unused"]
        assert sum(row["BilledCost"] for row in unused) == pytest.approx(report.idle().amount)
    for row in rows:
        assert all(row[column] is not None for column in NEVER_NULL)
        assert row["ListCost"] == pytest.approx(row["ListUnitPrice"] * row["PricingQuantity"])
        assert (row["CapacityReservationId"] is None) == (row["CapacityReservationStatus"] is None)
        assert (row["ChargePeriodEnd"] - row["ChargePeriodStart"]).days == 1


def test_csv_has_iso_times(tmp_path: Path) -> None:
    book = PriceBook.load()
    write_focus(focus_table(reports(book), book, start=START), tmp_path / "cost.csv")
    with (tmp_path / "cost.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["ChargePeriodStart"] == "2026-07-20T00:00:00Z"
    assert list(row) == SCHEMA.names


def test_a_missing_price_is_null_and_marked() -> None:
    book = PriceBook.load().without("g6.xlarge")
    rows = focus_table(reports(book), book, start=START).to_pylist()
    missing = [row for row in rows if row["SkuId"] == "g6.xlarge"]
    assert missing
    for row in missing:
        assert row["x_PriceStatus"] == "missing"
        assert row["BilledCost"] is row["ListCost"] is row["ListUnitPrice"] is None


def test_spot_and_reserved_keep_their_list_price() -> None:
    book = PriceBook.load()
    for purchase, category, contracted in (("spot", "Dynamic", 0.2104), ("reserved", "Committed", 0.526)):
        usages = machine_usages(
            line="g4dn.xlarge",
            allocated_hours=10,
            busy_hours=10,
            stage="s",
            kind=Kind.MEASURED,
            formula="",
            purchase=purchase,
        )
        row = focus_table({"x": price(usages, book)}, book, start=START).to_pylist()[0]
        assert row["PricingCategory"] == category
        assert row["ListCost"] == pytest.approx(5.26)
        assert row["ContractedUnitPrice"] == pytest.approx(contracted)
        assert row["EffectiveCost"] < row["ListCost"]


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    book = PriceBook.load()
    with pytest.raises(ConfigurationError):
        focus_table({}, book, start=datetime(2026, 7, 20))  # noqa: DTZ001
    with pytest.raises(ConfigurationError):
        write_focus(focus_table({}, book, start=START), tmp_path / "cost.xlsx")
