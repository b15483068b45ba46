"""Cost as rows of FOCUS 1.2, the FinOps Open Cost and Usage Specification, as CSV or Parquet.

All mandatory columns of 1.2 are there, plus ``x_`` columns of our own. One departure: where a price
is missing, the cost columns are null although FOCUS wants a number there, because 0 would be a false cost.
Filter on ``x_PriceStatus``.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bench.cost.ledger_cost import CostLine, CostReport
from bench.cost.pricebook import ON_DEMAND, MissingPrice, PriceBook
from signals.errors import ConfigurationError

_TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("BilledCost", pa.float64()),
        ("BillingAccountId", pa.string()),
        ("BillingAccountName", pa.string()),
        ("BillingCurrency", pa.string()),
        ("BillingPeriodEnd", _TIME),
        ("BillingPeriodStart", _TIME),
        ("CapacityReservationId", pa.string()),
        ("CapacityReservationStatus", pa.string()),
        ("ChargeCategory", pa.string()),
        ("ChargeClass", pa.string()),
        ("ChargeDescription", pa.string()),
        ("ChargeFrequency", pa.string()),
        ("ChargePeriodEnd", _TIME),
        ("ChargePeriodStart", _TIME),
        ("ConsumedQuantity", pa.float64()),
        ("ConsumedUnit", pa.string()),
        ("ContractedCost", pa.float64()),
        ("ContractedUnitPrice", pa.float64()),
        ("EffectiveCost", pa.float64()),
        ("InvoiceIssuerName", pa.string()),
        ("ListCost", pa.float64()),
        ("ListUnitPrice", pa.float64()),
        ("PricingCategory", pa.string()),
        ("PricingQuantity", pa.float64()),
        ("PricingUnit", pa.string()),
        ("ProviderName", pa.string()),
        ("PublisherName", pa.string()),
        ("RegionId", pa.string()),
        ("ServiceCategory", pa.string()),
        ("ServiceName", pa.string()),
        ("SkuId", pa.string()),
        ("Tags", pa.string()),  # a JSON object
        ("x_Kind", pa.string()),  # measured, projected or assumed
        ("x_Formula", pa.string()),
        ("x_PriceStatus", pa.string()),  # found or missing
        ("x_PriceSource", pa.string()),
    ]
)


def focus_table(
    reports: dict[str, CostReport], book: PriceBook, *, start: datetime, account: str = "lkbench"
) -> pa.Table:
    """One row per cost line of each architecture (the key of ``reports``).

    The charge period is [start, start + days), end exclusive; ``start`` must be aware and in UTC. The billing
    period is the same: this is an estimate, not an invoice. Raises ConfigurationError for a naive ``start``.
    """
    if start.utcoffset() != timedelta(0):
        raise ConfigurationError("the start of a charge period is a UTC time")
    rows = [
        _row(architecture, line, book, start, start + timedelta(days=report.days), account)
        for architecture, report in reports.items()
        for line in report.lines
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_focus(table: pa.Table, path: Path) -> None:
    """Write as CSV or Parquet, by the suffix. Raises ConfigurationError for any other suffix."""
    if path.suffix == ".parquet":
        pq.write_table(table, path, compression="zstd")
    elif path.suffix == ".csv":
        pa_csv.write_csv(_iso_times(table), path)
    else:
        raise ConfigurationError(f"{path}: FOCUS rows are written as .csv or .parquet")


def _iso_times(table: pa.Table) -> pa.Table:
    # FOCUS wants 2026-07-20T00:00:00Z; Arrow's own CSV form has a space.
    for index, field in enumerate(table.schema):
        if field.type == _TIME:
            texts = [value.strftime("%Y-%m-%dT%H:%M:%SZ") for value in table.column(index).to_pylist()]
            table = table.set_column(index, field.name, pa.array(texts, pa.string()))
    return table


def _row(
    architecture: str, line: CostLine, book: PriceBook, start: datetime, end: datetime, account: str
) -> dict[str, Any]:
    usage, price, cost = line.usage, line.price, line.cost
    found = None if isinstance(price, MissingPrice) else price
    list_cost = None if found is None else found.list_unit_price * usage.quantity
    # Contracted cost leaves out commitment discounts, effective cost includes them.
    committed = usage.purchase != ON_DEMAND and found is not None and found.pricing_category == "Committed"
    contracted_price = None if found is None else found.list_unit_price if committed else found.unit_price
    description = f"{usage.stage}: {usage.line}" + (", allocated and not used" if usage.idle else "")
    tags = {"architecture": architecture, "stage": usage.stage, "price_book": book.name}
    if usage.pool:
        tags["pool"] = usage.pool
    return {
        "BilledCost": cost,
        "BillingAccountId": account,
        "BillingAccountName": account,
        "BillingCurrency": book.currency,
        "BillingPeriodEnd": end,
        "BillingPeriodStart": start,
        "CapacityReservationId": f"{architecture}/{usage.pool}" if usage.pool else None,
        "CapacityReservationStatus": ("Unused" if usage.idle else "Used") if usage.pool else None,
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": description,
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": end,
        "ChargePeriodStart": start,
        "ConsumedQuantity": 0.0 if usage.idle else usage.quantity,
        "ConsumedUnit": usage.unit,
        "ContractedCost": None if contracted_price is None else contracted_price * usage.quantity,
        "ContractedUnitPrice": contracted_price,
        "EffectiveCost": cost,
        "InvoiceIssuerName": book.provider,
        "ListCost": list_cost,
        "ListUnitPrice": None if found is None else found.list_unit_price,
        "PricingCategory": "Other" if found is None else found.pricing_category,
        "PricingQuantity": usage.quantity,
        "PricingUnit": usage.unit,
        "ProviderName": book.provider,
        "PublisherName": book.provider,
        "RegionId": book.region,
        "ServiceCategory": "Other" if found is None else found.line.category,
        "ServiceName": "price missing" if found is None else found.line.service,
        "SkuId": usage.line,
        "Tags": json.dumps(tags, sort_keys=True),
        "x_Kind": str(line.kind),
        "x_Formula": usage.formula,
        "x_PriceStatus": "missing" if found is None else "found",
        "x_PriceSource": "" if found is None else f"{found.line.source} ({found.line.date})",
    }
