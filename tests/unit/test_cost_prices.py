"""Price books and costs: nothing is priced silently, nothing missing is 0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cost.architectures import Architecture
from bench.cost.inputs import Coefficients, DeviceModel, PlanInputs
from bench.cost.ledger_cost import Usage, cost_of, machine_usages
from bench.cost.plan import daily_cost, make_plan
from bench.cost.pricebook import MissingPrice, Price, PriceBook
from bench.cost.provenance import Kind
from signals.errors import ConfigurationError

EVERY_LINE = [(book, line) for book in PriceBook.names() for line in PriceBook.load(book).lines]
OWN_BOOK = """
provider = "me"
region = "cellar"
currency = "EUR"
date = "2026-01-01"

[lines.box]
price = 0.5
unit = "hour"
service = "Own machines"
category = "Compute"
source = "power bill"
date = "2026-01-01"
"""


def usage_of(line: str, book: PriceBook, quantity: float = 3.0) -> Usage:
    return Usage(line, book.lines[line].unit, quantity, "stage", Kind.MEASURED, "counted")


def inputs_on(book: PriceBook, instance: str) -> PlanInputs:
    device = replace(DeviceModel.load("t4-mlperf"), instance=instance).with_speed(400.0)
    return PlanInputs(8.6e6, device, Coefficients.load(), book)


def test_the_shipped_books_carry_the_documented_prices() -> None:
    old, new = PriceBook.load("aws-us-east-1-2022-06-22"), PriceBook.load("aws-us-east-1-2026-07-20")
    assert {old.lines["g4dn.xlarge"].price, new.lines["g4dn.xlarge"].price} == {0.526}
    assert (old.lines["p4d.24xlarge"].price, new.lines["p4d.24xlarge"].price) == (32.7726, 21.957642)
    assert "g6.xlarge" not in old.lines
    assert new.lines["g6.xlarge"].price == 0.8048
    assert new.lines["p5.48xlarge"].price == 55.04
    assert new.lines["p5.48xlarge"].devices == 8


@pytest.mark.parametrize(("name", "line"), EVERY_LINE)
def test_every_line_has_source_date_and_unit(name: str, line: str) -> None:
    found = PriceBook.load(name).lines[line]
    assert found.source
    assert found.date
    assert found.unit in {"hour", "1000 requests", "GB-month"}


@pytest.mark.parametrize(("name", "line"), EVERY_LINE)
def test_a_removed_line_makes_the_total_a_lower_bound_that_names_it(name: str, line: str) -> None:
    book = PriceBook.load(name)
    usages = [usage_of(each, book) for each in book.lines]
    whole = cost_of(usages, book).total()
    assert not whole.is_lower_bound
    total = cost_of(usages, book.without(line)).total()
    assert total.is_lower_bound
    assert total.missing == (line,)
    assert total.amount == pytest.approx(whole.amount - 3.0 * book.lines[line].price)
    assert line in total.text()
    assert total.text().startswith(">=")


@pytest.mark.parametrize(("name", "line"), EVERY_LINE)
def test_a_plan_without_a_line_it_needs_says_so(name: str, line: str) -> None:
    book = PriceBook.load(name)
    instance = line if book.lines[line].devices else "g4dn.xlarge"
    needed = {
        cost_line.usage.line
        for architecture in Architecture
        for cost_line in daily_cost(inputs_on(book, instance), architecture).lines
    }
    if line not in needed:
        assert line == "emr.m5.xlarge", "every other line is used by some plan"
        return
    plan = make_plan(inputs_on(book.without(line), instance))
    hit = [row for row in plan.rows if any(each.usage.line == line for each in row.daily.lines)]
    assert hit
    for row in hit:
        assert row.daily.total().missing == (line,)
        assert line in row.yearly.missing
        assert row.per_million_signals.is_lower_bound
    if any(row.qualifies for row in hit):
        assert plan.cheapest is None
        assert line in plan.verdict


def test_a_device_that_the_book_does_not_have_is_missing_and_not_free() -> None:
    plan = make_plan(inputs_on(PriceBook.load("aws-us-east-1-2022-06-22"), "g6.xlarge"))
    assert all(row.yearly.missing == ("g6.xlarge",) for row in plan.rows)
    assert plan.cheapest is None


def test_spot_applies_only_where_its_source_does() -> None:
    book = PriceBook.load()
    spot = book.price("g4dn.xlarge", "hour", "spot")
    assert isinstance(spot, Price)
    assert spot.unit_price == pytest.approx(0.526 * 0.4)
    assert spot.list_unit_price == 0.526
    assert book.price("g6.xlarge", "hour", "spot") == MissingPrice("spot factor of g6.xlarge", book.name)
    requests = book.price("s3.put", "1000 requests", "spot")
    assert isinstance(requests, Price)
    assert requests.unit_price == 0.005


def test_a_users_own_file_takes_the_place_of_a_book(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN_BOOK)
    book = PriceBook.load(str(path))
    assert (book.name, book.currency, book.lines["box"].price) == ("mine", "EUR", 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("price = 0.5", "price = -1"), "0 or more"),
        (("price = 0.5", "price = nan"), "0 or more"),
        (('unit = "hour"', 'unit = "month"'), "unit"),
        (('source = "power bill"', 'source = ""'), "source"),
        (('source = "power bill"', ""), "absent"),
        (("[lines.box]", "[lines.box]\ncolour = 1"), "unknown key"),
        (("[lines.box]", "lines = 3\n[factors.box]"), "lines is a table"),
        (("[lines.box]", "lines = { box = 3 }\n[factors.box]"), "lines.box is a table"),
        (('currency = "EUR"', ""), "absent"),
        (("[lines.box]", "[lines.box"), "mine"),
    ],
)
def test_a_broken_book_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN_BOOK.replace(*change))
    with pytest.raises(ConfigurationError, match=message):
        PriceBook.load(str(path))


def test_an_unknown_book_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="aws-us-east-1-2026-07-20"):
        PriceBook.load("gcp")


def test_a_line_in_another_unit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="1000 requests"):
        PriceBook.load().price("s3.put", "hour")


def test_requests_cost_more_than_an_always_on_t4() -> None:
    book = PriceBook.load()
    put = Usage("s3.put", "1000 requests", 8600, "nightly", Kind.ASSUMED, "one PUT per image")
    day = machine_usages(
        line="g4dn.xlarge",
        allocated_hours=24,
        busy_hours=1,
        stage="stream",
        kind=Kind.ASSUMED,
        formula="",
    )
    assert cost_of([put], book).total().amount == pytest.approx(43.0)
    assert cost_of(day, book).total().amount == pytest.approx(12.624)


def test_a_cost_is_never_called_measured() -> None:
    book = PriceBook.load()
    report = cost_of([usage_of("s3.get", book)], book)
    assert report.lines[0].kind is Kind.PROJECTED
    assumed = replace(report.lines[0].usage, kind=Kind.ASSUMED)
    assert cost_of([assumed], book).total().kind is Kind.ASSUMED


@given(
    allocated=st.floats(0, 1e6), busy=st.floats(0, 1e6), requests=st.floats(0, 1e9), days=st.floats(0.1, 400)
)
def test_views_of_a_cost_add_up(allocated: float, busy: float, requests: float, days: float) -> None:
    book = PriceBook.load()
    usages = machine_usages(
        line="g4dn.xlarge",
        allocated_hours=allocated,
        busy_hours=busy,
        stage="stream inference",
        kind=Kind.MEASURED,
        formula="ledger",
        pool="stream",
    )
    usages.append(Usage("s3.get", "1000 requests", requests, "stream requests", Kind.MEASURED, "counted"))
    report = cost_of(usages, book, days=days)
    total = report.total().amount
    assert total == pytest.approx(max(allocated, busy) * 0.526 + requests * 0.0004)
    assert sum(t.amount for t in report.by_stage().values()) == pytest.approx(total)
    assert sum(t.amount for t in report.by_service().values()) == pytest.approx(total)
    assert report.idle().amount == pytest.approx(max(allocated - busy, 0) * 0.526)
    assert report.per_day().amount == pytest.approx(total / days)
    assert report.per_million(0) is None
    per_million = report.per_million(2e6)
    assert per_million is not None
    assert per_million.amount == pytest.approx(total / 2)


def test_a_negative_quantity_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        Usage("s3.get", "1000 requests", -1.0, "s", Kind.MEASURED, "")
