"""One image's way through each arm, with times, from the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from bench.database import connect
from bench.durations import duration_text
from bench.image_names import printable
from bench.ledger_query import LedgerQuery, open_ledger
from bench.partitions import create_relation, load_partitions
from signals.errors import ConfigurationError

SIGNATURE_LENGTH = 32
SHOWN_MATCHES = 5

_ROWS = """
SELECT arm, replicate, galaxy, event_id, day, path, stage, start_ns, end_ns, attempt, pool, device,
       batch_size, outcome, detail, pipeline
FROM events
WHERE image_signature = $signature
-- What is told as a moment stands at its end: an image is available when the client holds its signals.
ORDER BY arm, replicate, galaxy, if(stage = 'available_online', end_ns, start_ns), end_ns
"""
_STEPS = """
SELECT day, path, detail AS step, start_ns, end_ns, outcome
FROM events WHERE stage = 'step' AND arm = $arm AND replicate = $replicate
ORDER BY start_ns, end_ns
"""
Row = dict[str, Any]


def explain_signature(run_dir: Path, signature: str) -> RenderableType:
    """A tree per arm and replicate: arrivals, stages, availability online, nightly steps, partition, batch.

    ``signature`` may be a prefix. Raises ConfigurationError if it matches no image or more than one.
    """
    with open_ledger(run_dir, with_base=False) as ledger:
        full = _only_match(ledger, signature.lower())
        rows = ledger.execute(_ROWS, {"signature": full})
        trees: list[RenderableType] = [Text(f"image {full}", style="bold"), *_file_name(ledger, full)]
        for (arm, replicate), of_arm in groupby(rows, key=lambda row: (row["arm"], row["replicate"])):
            steps = ledger.execute(_STEPS, {"arm": arm, "replicate": replicate})
            tree = Tree(Text(f"{arm}, replicate {replicate}", style="bold"))
            for galaxy, of_galaxy in groupby(of_arm, key=lambda row: row["galaxy"]):
                in_table = _in_table(run_dir, arm, replicate, galaxy, full)
                _add_galaxy(tree, galaxy, list(of_galaxy), steps, in_table)
            trees.append(tree)
    return Group(*trees)


def _file_name(ledger: LedgerQuery, signature: str) -> list[Text]:
    names = ledger.execute(
        "SELECT file_name FROM images WHERE image_signature = $signature", {"signature": signature}
    )
    return [Text(f"file {printable(row['file_name'])}") for row in names]


def _only_match(ledger: LedgerQuery, prefix: str) -> str:
    if not prefix or len(prefix) > SIGNATURE_LENGTH or set(prefix) - set("0123456789abcdef"):
        raise ConfigurationError(f"{prefix!r} is no image signature: that is up to 32 hex characters")
    found = ledger.execute(
        "SELECT DISTINCT image_signature FROM events WHERE starts_with(image_signature, $prefix) "
        "ORDER BY ALL LIMIT $limit",
        {"prefix": prefix, "limit": SHOWN_MATCHES + 1},
    )
    matches = [row["image_signature"] for row in found]
    if not matches:
        raise ConfigurationError(f"no image of this run has a signature that starts with {prefix}")
    if len(matches) > 1:
        more = ", …" if len(matches) > SHOWN_MATCHES else ""
        shown = ", ".join(matches[:SHOWN_MATCHES])
        raise ConfigurationError(f"{prefix} is the start of several signatures: {shown}{more}")
    return str(matches[0])


def _in_table(run_dir: Path, arm: str, replicate: int, galaxy: str, signature: str) -> list[tuple[int, str]]:
    """(day, signal) of each row that the arm's Hive table holds for the image."""
    partitions = [p for p in load_partitions(run_dir, arm, replicate) or [] if p.galaxy == galaxy]
    with connect() as connection:
        create_relation(connection, "hive", partitions)
        return connection.execute(
            "SELECT day, signal || ' v' || version FROM hive WHERE image_signature = $signature ORDER BY ALL",
            {"signature": signature},
        ).fetchall()


def _add_galaxy(
    tree: Tree, galaxy: str, rows: list[Row], steps: list[Row], in_table: list[tuple[int, str]]
) -> None:
    branch = tree.add(Text(f"galaxy {galaxy}"))
    arrivals = [row for row in rows if row["stage"] == "arrival"]
    if not arrivals:
        branch.add(Text("never arrived in this arm", style="red"))
    origin = arrivals[0]["start_ns"] if arrivals else rows[0]["start_ns"]
    for number, arrival in enumerate(arrivals):
        _add_arrival(branch, number, arrival, rows, origin)
    nightly = [row for row in rows if row["event_id"] < 0 and row["stage"] != "available_batch"]
    if nightly:
        night = branch.add(Text("nightly path"))
        for row in nightly:
            night.add(_line(row, origin))
    _add_batch(branch, rows, steps, in_table, origin)


def _add_arrival(branch: Tree, number: int, arrival: Row, rows: list[Row], origin: int) -> None:
    which = "first arrival" if number == 0 else f"arrival {number + 1} (a repeat)"
    late = duration_text((arrival["end_ns"] - arrival["start_ns"]) / 1e9)
    head = branch.add(
        _at(arrival["start_ns"], origin).append(
            f"{which}, event {arrival['event_id']}, day {arrival['day']}, pipeline {arrival['pipeline']}; "
            f"handed over {late} later"
        )
    )
    mine = [row for row in rows if row["event_id"] == arrival["event_id"] and row["stage"] != "arrival"]
    for row in mine:
        head.add(_line(row, origin))
    if not any(row["stage"] in ("available_online", "dead_letter") for row in mine):
        head.add(Text("lost: neither a signal nor a dead letter for the online consumer", style="red"))


def _add_batch(
    branch: Tree, rows: list[Row], steps: list[Row], in_table: list[tuple[int, str]], origin: int
) -> None:
    read = [row for row in rows if row["stage"] == "available_batch"]
    days = {day for day, _ in in_table} or {row["day"] for row in read} or {row["day"] for row in rows[:1]}
    waited = [step for step in steps if step["day"] in days]
    dead = any(row["stage"] == "dead_letter" for row in rows)
    if waited and not (dead and not read):
        wait = branch.add(Text("nightly steps it waited for"))
        last = min((row["end_ns"] for row in read), default=None)
        for step in waited:
            if last is None or step["start_ns"] <= last:
                wait.add(_span(step, origin, step["step"]))
    for day in sorted({day for day, _ in in_table}):
        signals = ", ".join(signal for of_day, signal in in_table if of_day == day)
        branch.add(Text(f"Hive partition day={day}: {signals}"))
    if read:
        first = min(row["end_ns"] for row in read)
        wait_text = duration_text((first - origin) / 1e9)
        branch.add(
            _at(first, origin).append(f"available in batch, {wait_text} after it arrived", style="green")
        )
    elif not dead:
        branch.add(Text("lost: neither in the Hive table nor a dead letter", style="red"))


def _line(row: Mapping[str, Any], origin: int) -> Text:
    if row["stage"] == "available_online":
        wait = duration_text((row["end_ns"] - row["start_ns"]) / 1e9)
        words = {
            "ok": "available online",
            "redelivered": "announced again",
            "missing": "announced, not readable",
        }
        style = "green" if row["outcome"] == "ok" else "yellow"
        text = f"{words.get(row['outcome'], row['outcome'])}, {wait} after it arrived"
        return _at(row["end_ns"], origin).append(text, style=style)
    if row["stage"] == "dead_letter":
        return _at(row["end_ns"], origin).append(f"dead letter: {printable(row['detail'])}", style="red")
    notes = []
    if row["attempt"] > 1:
        notes.append(f"attempt {row['attempt']}")
    if row["batch_size"]:
        notes.append(f"batch of {row['batch_size']}")
    if row["stage"] == "inference" and row["device"]:
        notes.append(f"pool {row['pool']} on {row['device']}")
    if row["outcome"] != "ok":
        notes.append(" ".join(filter(None, [row["outcome"], printable(row["detail"])])))
    return _span(row, origin, ", ".join([row["stage"].replace("_", " "), *notes]))


def _span(row: Mapping[str, Any], origin: int, text: str) -> Text:
    took = duration_text((row["end_ns"] - row["start_ns"]) / 1e9)
    return _at(row["start_ns"], origin).append(f"{took:>8}  ", style="cyan").append(text)


def _at(moment_ns: int, origin: int) -> Text:
    return Text.assemble((f"{(moment_ns - origin) / 1e9:+10.3f} s  ", "dim"))
