"""Checks a run again from its folder alone: ledger, Hive partitions, and the figures that were published."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import orjson

from bench.database import connect, quote
from bench.partitions import KEY, create_relation, load_partitions
from bench.resources.checks import cross_checks
from bench.results import compute_result
from bench.run_folder import read_json
from bench.seal import events_path
from signals.errors import ConfigurationError

RELATIVE_TOLERANCE = 1e-9
EXAMPLES = 3
_SHORT = reprlib.Repr()  # what differs is named, not printed whole
_SHORT.maxstring = _SHORT.maxother = 80


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a run folder."""

    name: str
    ok: bool
    detail: str


def verify_run(run_dir: Path) -> list[Check]:
    """Every check, in order. Raises ConfigurationError if the folder has no result or no ledger."""
    path = run_dir / "result.json"
    if not path.is_file():
        raise ConfigurationError(f"{run_dir} has no result.json: only a run that ended can be verified")
    published = read_json(path)
    recomputed = orjson.loads(orjson.dumps(compute_result(run_dir)))
    replicates = {arm: sorted(map(int, content["replicates"])) for arm, content in recomputed["arms"].items()}
    checks = [_same_figures(published, recomputed), *_completeness(recomputed), *_parts(recomputed)]
    for arm, numbers in replicates.items():
        for replicate in numbers:
            checks += _tables(run_dir, arm, replicate)
            checks += _sources(run_dir, arm, replicate)
    checks.append(_agreement(recomputed["agreement"]))
    return checks


def _same_figures(published: Any, recomputed: Any) -> Check:
    differences = list(_differences(published, recomputed, ""))
    detail = "result.json follows from the ledger and the partitions"
    if differences:
        more = f" and {len(differences) - EXAMPLES} more" if len(differences) > EXAMPLES else ""
        detail = f"not what the folder says now: {'; '.join(differences[:EXAMPLES])}{more}"
    return Check("figures", not differences, detail)


def _differences(left: Any, right: Any, at: str) -> Iterator[str]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for name in sorted(left.keys() | right.keys()):
            yield from _differences(left.get(name), right.get(name), f"{at}.{name}" if at else name)
    elif isinstance(left, list) and isinstance(right, list):
        if len(left) != len(right):
            yield f"{at} has {len(left)} entries, should have {len(right)}"
        for i, (a, b) in enumerate(zip(left, right, strict=False)):
            yield from _differences(a, b, f"{at}[{i}]")
    elif _is_number(left) and _is_number(right):
        if not math.isclose(left, right, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-12):
            yield f"{at} is {left}, should be {right}"
    elif left != right:
        yield f"{at} is {_SHORT.repr(left)}, should be {_SHORT.repr(right)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _completeness(result: Mapping[str, Any]) -> Iterator[Check]:
    for arm, content in result["arms"].items():
        figures = content["completeness"]
        names = ("lost_arrivals", "lost_keys", "contradicted_arrivals", "contradicted_keys", "phantom_keys")
        wrong = {name: figures.get(name) for name in names if figures.get(name)}
        if not figures.get("offered_arrivals"):
            yield Check(f"completeness {arm}", False, "the ledger has no arrivals")
        elif wrong:
            text = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in wrong.items())
            yield Check(f"completeness {arm}", False, text)
        else:
            text = (
                f"{figures['offered_arrivals']} arrivals of {figures['distinct_keys']} keys: "
                f"{figures['batch_keys']} signals, {figures['dead_letter_keys']} dead letters, none lost"
            )
            yield Check(f"completeness {arm}", True, text)


def _parts(result: Mapping[str, Any]) -> Iterator[Check]:
    """Every wait is the sum of its parts, to the nanosecond, and none of it is unaccounted for.

    A process that was killed took its last half second of rows with it: then some of it may be.
    """
    for arm, content in result["arms"].items():
        rows = content["parts_check"]["rows"]
        waits = sum(row["waits"] for row in rows)
        faults = {name: sum(row[name] for row in rows) for name in ("uneven", "unrecorded", "broken_stages")}
        if content["restarts"]["total"]:
            faults["unrecorded"] = 0
        texts = {
            "uneven": "waits are not the sum of their parts",
            "unrecorded": "waits have time that no row accounts for",
            "broken_stages": "stages do not begin where the one before ended",
        }
        found = "; ".join(f"{faults[name]} {text}" for name, text in texts.items() if faults[name])
        yield Check(f"parts {arm}", not found, found or f"{waits} waits, each the sum of its parts")


def _tables(run_dir: Path, arm: str, replicate: int) -> Iterator[Check]:
    """The table of one replicate beside what its batch client read, and by itself."""
    partitions = load_partitions(run_dir, arm, replicate)
    if partitions is None:
        yield Check(f"table {arm} r{replicate}", False, "partitions.json is missing")
        return
    with connect() as connection:
        create_relation(connection, "hive", partitions)
        yield _matches_ledger(connection, run_dir, arm, replicate)
        yield _is_whole(connection, f"table {arm} r{replicate}")


def _matches_ledger(connection: duckdb.DuckDBPyConnection, run_dir: Path, arm: str, replicate: int) -> Check:
    """The table holds the keys that the batch client read, no fewer and no more."""
    rows = connection.execute(
        "WITH held AS (SELECT DISTINCT galaxy, image_signature, TRUE AS in_table FROM hive), "  # noqa: S608
        "read AS (SELECT DISTINCT galaxy, image_signature, TRUE AS in_ledger "
        f"FROM read_parquet({quote(str(events_path(run_dir)))}) "
        "WHERE stage = 'available_batch' AND arm = $arm AND replicate = $replicate) "
        "SELECT count(*) FILTER (in_ledger IS NULL), count(*) FILTER (in_table IS NULL), count(*) "
        "FROM held FULL JOIN read USING (galaxy, image_signature)",
        {"arm": arm, "replicate": replicate},
    ).fetchall()
    unread, gone, total = rows[0]
    ok = not unread and not gone
    detail = f"{total} keys in both" if ok else f"{unread} only in the table, {gone} only in the ledger"
    return Check(f"table and ledger {arm} r{replicate}", ok, detail)


def _is_whole(connection: duckdb.DuckDBPyConnection, name: str) -> Check:
    """No signal twice, and every key has every signal of its galaxy."""
    rows = connection.execute(
        f"WITH counted AS (SELECT {KEY}, count(*) AS n FROM hive GROUP BY ALL), "  # noqa: S608
        "expected AS (SELECT galaxy, count(DISTINCT (signal, version)) AS signals FROM hive "
        "GROUP BY ALL), "
        "images AS (SELECT galaxy, image_signature, count(*) AS signals FROM counted GROUP BY ALL) "
        "SELECT (SELECT count(*) FROM counted WHERE n > 1), "
        "(SELECT count(*) FROM images JOIN expected USING (galaxy) "
        "WHERE images.signals < expected.signals), (SELECT count(*) FROM counted)"
    ).fetchall()
    duplicated, incomplete, total = rows[0]
    ok = not duplicated and not incomplete
    detail = f"{total} signals, each once"
    if not ok:
        detail = f"{duplicated} signals more than once, {incomplete} images lack a signal of their galaxy"
    return Check(name, ok, detail)


def _sources(run_dir: Path, arm: str, replicate: int) -> Iterator[Check]:
    """What the run counted against independent sources; what can't be compared says why."""
    for found in cross_checks(run_dir, arm, replicate):
        yield Check(f"{arm} r{replicate}, {found.name}", found.ok is not False, found.detail)


def _agreement(found: Mapping[str, Any]) -> Check:
    if found["agrees"] is None:
        return Check("agreement", found["reason"] == "only one arm ran", found["reason"])
    if found["agrees"]:
        compared = sum(pair["compared"] for pair in found["pairs"])
        lowest = min(pair["lowest_cosine"] for pair in found["pairs"])
        return Check("agreement", True, f"{compared} signals compared, lowest cosine {lowest:.7f}")
    return Check(
        "agreement", False, "; ".join(_describe(pair) for pair in found["pairs"] if not pair["agrees"])
    )


def _describe(pair: Mapping[str, Any]) -> str:
    parts = []
    for kind in ("missing", "extra", "duplicated", "wrong_day", "mismatched"):
        if pair[kind]:
            examples = ", ".join(pair["examples"][kind][:EXAMPLES])
            parts.append(f"{pair[kind]} {kind.replace('_', ' ')} ({examples})")
    if not pair["same_schema"]:
        parts.append("the schemas differ")
    text = ", ".join(parts) or "nothing to compare"
    return f"{pair['contender']} against {pair['reference']}, replicate {pair['replicate']}: {text}"
