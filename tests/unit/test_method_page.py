"""``docs/method.md`` says what the code does: its tables hold every rule, part and sample size."""

from __future__ import annotations

import re
from pathlib import Path

from bench.database import connect
from bench.ledger_query import sql_text
from bench.results import compute_result
from tests.unit.synthetic_run import complete_run

PAGE = Path(__file__).parents[2] / "docs" / "method.md"


def table(heading: str) -> list[tuple[str, ...]]:
    """The cells of each row of the first table whose first column has this heading."""
    _, _, below = PAGE.read_text().partition(f"\n| {heading} |")
    rows = below.partition("\n\n")[0].splitlines()[2:]
    return [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows]


def test_every_rule_stands_in_the_table_with_its_limit(tmp_path: Path) -> None:
    rules = compute_result(complete_run(tmp_path / "run-1").write())["validity"]["rules"]
    assert [(name, limit) for name, limit, _ in table("rule")] == [
        (f"`{rule['id']}`", str(rule["limit"])) for rule in rules
    ]


def test_every_part_of_a_wait_stands_in_the_table() -> None:
    ordered = re.search(r"list_position\(\[(.*?)\]", sql_text("stage_parts"), re.DOTALL)
    assert ordered is not None
    parts = {*re.findall(r"'(\w+)'", ordered[1])} - {"after_midnight", "whole"}
    named = [part for names, _ in table("part") for part in re.findall(r"`(\w+)`", names)]
    assert sorted(named) == sorted(parts)


def test_sample_sizes_are_those_of_the_query() -> None:
    with connect() as connection:
        connection.execute(sql_text("percentiles"))
        for percentile, samples in table("percentile"):
            share = int(percentile.removeprefix("p")) / 100
            (needed,) = connection.execute("SELECT samples_needed($share)", {"share": share}).fetchall()
            assert needed == (int(samples),)
