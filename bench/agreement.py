"""Do the arms agree? A full outer join of their Hive partitions that keeps the ways to differ apart.

A benchmark of two systems that compute different things is void; so what one arm lacks, has beyond the
other, has twice, put in another day's partition, or computed differently is counted, each by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb

from bench.database import connect
from bench.partitions import KEY, Partition, create_relation, load_partitions, schemas
from bench.vectors import THRESHOLD, cosines
from signals.declaration import declared_signals

EXAMPLES = 5
ROWS_PER_BATCH = 2_000


def inventory(run_dir: Path, arm: str, replicate: int) -> dict[str, Any] | None:
    """What one arm's table holds: signals (rows), distinct keys, duplicates, partitions; None if unknown."""
    partitions = load_partitions(run_dir, arm, replicate)
    if partitions is None:
        return None
    with connect() as connection:
        create_relation(connection, "hive", partitions)
        rows, keys, images = _row(
            connection,
            f"SELECT count(*), count(DISTINCT ({KEY})), count(DISTINCT (galaxy, image_signature)) FROM hive",  # noqa: S608
        )
    return {
        "signals": rows,
        "distinct_signals": keys,
        "duplicated_signals": rows - keys,
        "image_keys": images,
        "partitions": len(partitions),
    }


def compare_arms(run_dir: Path, arms: Sequence[str], replicates: Sequence[int]) -> dict[str, Any]:
    """Compare each arm with the one before it in ``arms``, replicate by replicate.

    Returns JSON-able ``{"agrees": bool | None, "threshold", "pairs": [...], "reason"}``; ``agrees`` is None
    with a reason where there is nothing to compare.
    """
    pairs: list[dict[str, Any]] = []
    for replicate in replicates:
        for left, right in pairwise(arms):
            sides = [load_partitions(run_dir, arm, replicate) for arm in (left, right)]
            if sides[0] is None or sides[1] is None:
                reason = f"replicate {replicate} of {left} or {right} has no recorded partitions"
                return {"agrees": None, "threshold": THRESHOLD, "pairs": pairs, "reason": reason}
            pair = _compare(sides[0], sides[1])
            pairs.append({"reference": left, "contender": right, "replicate": replicate, **pair})
    if not pairs:
        reason = "only one arm ran" if len(arms) < 2 else "no replicate ran"
        return {"agrees": None, "threshold": THRESHOLD, "pairs": [], "reason": reason}
    agrees = all(pair["agrees"] for pair in pairs)
    return {"agrees": agrees, "threshold": THRESHOLD, "pairs": pairs, "reason": None}


def _compare(left: list[Partition], right: list[Partition]) -> dict[str, Any]:
    with connect() as connection:
        create_relation(connection, "left_rows", left)
        create_relation(connection, "right_rows", right)
        counts = _compare_keys(connection)
        compared, mismatched, lowest = _compare_values(connection)
    left_schemas, right_schemas = schemas(left), schemas(right)
    counts["compared"] = compared
    counts["mismatched"] = len(mismatched)
    same_schema = left_schemas == right_schemas and len(left_schemas) == 1
    differs = ("missing", "extra", "duplicated", "wrong_day", "mismatched")
    agrees = same_schema and compared > 0 and not any(counts[kind] for kind in differs)
    counts["examples"]["mismatched"] = mismatched[:EXAMPLES]
    return {"agrees": agrees, "same_schema": same_schema, "lowest_cosine": lowest, **counts}


def _compare_keys(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    for side in ("left", "right"):
        connection.execute(
            f"CREATE TEMP TABLE {side}_keys AS SELECT {KEY}, count(*) AS n, min(day) AS first_day, "  # noqa: S608
            f"max(day) AS last_day FROM {side}_rows GROUP BY ALL"
        )
    connection.execute(
        f"CREATE TEMP TABLE joined AS SELECT {KEY}, l.n AS left_n, r.n AS right_n, "  # noqa: S608
        "l.first_day IS DISTINCT FROM r.first_day AS other_day "
        f"FROM left_keys l FULL JOIN right_keys r USING ({KEY})"
    )
    conditions = {
        "missing": "right_n IS NULL",
        "extra": "left_n IS NULL",
        "duplicated": "left_n > 1 OR right_n > 1",
        "wrong_day": "left_n = 1 AND right_n = 1 AND other_day",
    }
    counts: dict[str, Any] = {"keys": _row(connection, "SELECT count(*) FROM joined")[0], "examples": {}}
    for kind, condition in conditions.items():
        counts[kind] = _row(connection, f"SELECT count(*) FROM joined WHERE {condition}")[0]  # noqa: S608
        rows = connection.execute(
            f"SELECT concat_ws('/', galaxy, signal, 'v' || version, image_signature) FROM joined "  # noqa: S608
            f"WHERE {condition} ORDER BY ALL LIMIT {EXAMPLES}"
        ).fetchall()
        counts["examples"][kind] = [row[0] for row in rows]
    return counts


def _compare_values(connection: duckdb.DuckDBPyConnection) -> tuple[int, list[str], float | None]:
    """Rows compared, keys that do not agree, the lowest cosine of all."""
    kinds = {(s.name, s.version): s.compare for s in declared_signals()}
    found = connection.execute("SELECT DISTINCT signal, version FROM joined ORDER BY ALL").fetchall()
    compared, mismatched, lowest = 0, [], None
    for signal, version in found:
        # A signal that is not declared here (another arm's own) is taken as a vector.
        compare = kinds.get((signal, version), "cosine")
        for names, left, right, same_shape in _pairs(connection, signal, version):
            cosine = cosines(left, right, compare)
            compared += len(names)
            lowest = float(min(cosine.min(), 1.0 if lowest is None else lowest))
            bad = [
                n for n, c, same in zip(names, cosine, same_shape, strict=True) if c < THRESHOLD or not same
            ]
            mismatched += [f"{name.split('/')[0]}/{signal}/v{version}/{name.split('/')[1]}" for name in bad]
    return compared, sorted(mismatched), lowest


def _pairs(connection: duckdb.DuckDBPyConnection, signal: str, version: int) -> Iterator[tuple[Any, ...]]:
    reader = connection.sql(
        "SELECT l.galaxy || '/' || image_signature AS name, coalesce(l.values, ''::BLOB) AS left_values, "  # noqa: S608
        "coalesce(r.values, ''::BLOB) AS right_values, coalesce(l.shape = r.shape, FALSE) AS same_shape "
        f"FROM left_rows l JOIN right_rows r USING ({KEY}) WHERE signal = $signal AND version = $version",
        params={"signal": signal, "version": version},
    ).to_arrow_reader(ROWS_PER_BATCH)
    for batch in reader:
        if len(batch):
            yield tuple(column.to_pylist() for column in batch.columns)


def _row(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = connection.execute(sql).fetchone()
    assert row is not None  # an aggregate without GROUP BY has exactly one row
    return row
