"""The rows of the side-by-side comparison: the same ones in the terminal and on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.compare.texts import value_text
from bench.durations import duration_text, interval_text
from bench.metrics import Unit
from bench.money import usd_text
from reports.located import Located

CONSUMERS = {
    "online": "Time to availability, online consumer",
    "batch": "Time to availability, batch consumer",
    "online_repeat": "Repeated images, online consumer",
}
NOT_MEASURED = "—"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one arm measured, as text; ``reason`` says why where nothing was.

    ``value`` is the exact number, ``pointer`` its place in ``result.json`` (a JSON Pointer), "" where it is
    computed from several.
    """

    text: str
    reason: str = ""
    value: float | None = None
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One figure of every arm. ``query`` names the SQL that it comes from."""

    group: str
    label: str
    query: str
    cells: dict[str, Cell]


def summary_rows(result: Mapping[str, Any]) -> list[SummaryRow]:
    """All rows, in order of reading."""
    arms = {name: Located(result)["arms"][name] for name in result["arms"]}
    return [
        *_load_rows(Located(result)["provenance"], list(arms)),
        *_latency_rows(arms),
        *_device_rows(arms),
        *_throughput_rows(arms, _capacity_per_second(result)),
        *_completeness_rows(arms),
        *_work_rows(arms),
        *_resource_rows(arms),
        *_cost_rows(arms),
        *_agreement_rows(result["agreement"], list(arms)),
    ]


def _load_rows(made_from: Located, arms: list[str]) -> Iterator[SummaryRow]:
    """What was offered; the same for every arm."""
    unmeasured = "the inference capacity is unknown: no arm of this run reads images"
    capacity = made_from.get("capacity")
    figures: dict[str, tuple[Located, Callable[[float], str]]] = {
        "arrivals per second": (made_from.get("rate_per_second"), lambda value: f"{value:.1f}"),
        "as a share of the inference capacity": (made_from.get("load_share"), lambda value: f"{value:.0%}"),
        "inference capacity, images per second": (
            capacity["images_per_second"] if capacity else capacity,
            lambda value: f"{value:.1f}",
        ),
    }
    for label, (found, text) in figures.items():
        missing = found.value is None
        cell = (
            Cell(NOT_MEASURED, unmeasured)
            if missing
            else Cell(text(found.value), "", found.value, found.pointer)
        )
        yield SummaryRow("Load", label, "", dict.fromkeys(arms, cell))


def _latency_rows(arms: Mapping[str, Located]) -> Iterator[SummaryRow]:
    for consumer, group in CONSUMERS.items():
        of_arm = {arm: content["latency"].get(consumer) for arm, content in arms.items()}
        if not any(of_arm.values()):
            continue
        # Repeats are shown for context; their tail is in result.json.
        repeats = consumer == "online_repeat"
        for statistic in ("p50", "max") if repeats else ("p50", "p90", "p95", "p99", "max"):
            cells = {
                arm: _latency_cell(found, statistic) if found else Cell(NOT_MEASURED, "no sample")
                for arm, found in of_arm.items()
            }
            label = "median" if statistic == "p50" else statistic
            yield SummaryRow(group, label, "latency", cells)
        counts = {arm: _count_cell(found.get("n") if found else found) for arm, found in of_arm.items()}
        label = "arrivals" if repeats else "keys"
        yield SummaryRow(group, label, "latency", counts)


def _device_rows(arms: Mapping[str, Located]) -> Iterator[SummaryRow]:
    pools = {arm: content["device_hours"]["pools"].value for arm, content in arms.items()}
    units = sorted({pool["unit"] for of_arm in pools.values() for pool in of_arm})
    names = dict.fromkeys(pool["pool"] for of_arm in pools.values() for pool in of_arm)
    for unit in units:
        group = f"{unit} per compressed day"
        for pool_name in names:
            for kind in ("allocated", "busy", "wasted"):
                cells = {
                    arm: _hours_cell([p for p in found if p["pool"] == pool_name and p["unit"] == unit], kind)
                    for arm, found in pools.items()
                }
                yield SummaryRow(group, f"{pool_name} pool, {kind}", "device_hours", cells)
        if len(names) > 1:
            totals = {
                arm: _hours_cell([p for p in found if p["unit"] == unit], "allocated")
                for arm, found in pools.items()
            }
            yield SummaryRow(group, "all pools, allocated", "device_hours", totals)


def _hours_cell(pools: list[Mapping[str, Any]], kind: str) -> Cell:
    if not pools:
        return Cell(NOT_MEASURED)  # this arm has no such pool: nothing is missing
    values = [pool[f"{kind}_hours"] for pool in pools]
    if None in values:
        return Cell(NOT_MEASURED, next(iter(pools[0]["reasons"].values()), "not recorded"))
    per_day = sum(value / max(pool["days"] or 1, 1) for value, pool in zip(values, pools, strict=True))
    return Cell(value_text(per_day, Unit.HOURS), value=per_day)


def _capacity_per_second(result: Mapping[str, Any]) -> float | None:
    """Images per second of the bare loop that the run measured before its arms, if it did."""
    capacity = (result.get("provenance") or {}).get("capacity") or {}
    return capacity.get("images_per_second")


def _throughput_rows(arms: Mapping[str, Located], capacity: float | None) -> Iterator[SummaryRow]:
    def text(per_second: float) -> str:
        ratio = f" ({per_second / capacity:.0%})" if capacity else ""
        return f"{per_second:.1f}{ratio}"

    labels = {
        "offered": "offered during the day",
        "sustained": "sustained during the day",
        "nightly_inference": "nightly inference step",
    }
    group = "Images per second (share of the bare loop)" if capacity else "Images per second"
    for name, label in labels.items():
        cells = {
            arm: _figure_cell(content["images_per_second"], f"{name}_per_second", text)
            for arm, content in arms.items()
        }
        yield SummaryRow(group, label, "throughput", cells)


def _completeness_rows(arms: Mapping[str, Located]) -> Iterator[SummaryRow]:
    labels = {
        "offered_arrivals": "arrivals offered",
        "distinct_keys": "distinct keys (galaxy, image)",
        "signals": "signals in the Hive table",
        "dead_letter_arrivals": "dead letters, arrivals",
        "dead_letter_keys": "dead letters, keys",
        "lost_arrivals": "lost, arrivals",
        "lost_keys": "lost, keys",
        "duplicated_signals": "duplicated signals",
    }
    for name, label in labels.items():
        cells = {arm: _count_cell(content["completeness"].get(name)) for arm, content in arms.items()}
        yield SummaryRow("Completeness", label, "completeness", cells)


def _work_rows(arms: Mapping[str, Located]) -> Iterator[SummaryRow]:
    labels = {
        "inferences": ("recomputed", "inferences"),
        "keys computed more than once": ("recomputed", "recomputed_keys"),
        "retries": ("retries", "total"),
        "restarted processes": ("restarts", "total"),
    }
    for label, (section, name) in labels.items():
        cells = {arm: _count_cell(content[section].get(name)) for arm, content in arms.items()}
        yield SummaryRow("Work done", label, section, cells)


def _resource_rows(arms: Mapping[str, Located]) -> Iterator[SummaryRow]:
    labels: dict[str, tuple[str, Callable[[float], str]]] = {
        "cpu_seconds_per_image": ("CPU seconds per image, without the harness", lambda value: f"{value:.3f}"),
        "s3_requests_per_image": ("S3 requests per image", lambda value: f"{value:.2f}"),
        "kafka_messages_per_image": ("Kafka messages per image", lambda value: f"{value:.2f}"),
        "bytes_stored_per_signal": ("bytes stored per signal", lambda value: f"{value:,.0f}"),
    }
    for name, (label, text) in labels.items():
        cells = {arm: _figure_cell(content["resources"], name, text) for arm, content in arms.items()}
        yield SummaryRow("Resources", label, "resources", cells)


def _cost_rows(arms: Mapping[str, Located]) -> Iterator[SummaryRow]:
    labels = {
        "per_million_signals_usd": "a million signals",
        "idle_per_day_usd": "idle devices, a compressed day",
    }
    books = sorted({content["cost"]["price_book"].value for content in arms.values()})
    for name, label in labels.items():
        cells = {arm: _figure_cell(content["cost"], name, usd_text) for arm, content in arms.items()}
        yield SummaryRow(f"Cost, projected at the prices of {', '.join(books)}", label, "resources", cells)


def _agreement_rows(agreement: Mapping[str, Any], arms: list[str]) -> Iterator[SummaryRow]:
    cells = {arm: Cell("reference" if i == 0 else NOT_MEASURED, "") for i, arm in enumerate(arms)}
    if agreement["agrees"] is None:
        cells = {arm: Cell(NOT_MEASURED, agreement["reason"]) for arm in arms}
    for arm in arms[1:]:
        pairs = [pair for pair in agreement["pairs"] if pair["contender"] == arm]
        if pairs and agreement["agrees"] is not None:
            verdict = "agrees" if all(pair["agrees"] for pair in pairs) else "DIFFERS"
            compared = [pair["lowest_cosine"] for pair in pairs if pair["lowest_cosine"] is not None]
            detail = f"cosine >= {min(compared):.6f}" if compared else "nothing compared"
            cells[arm] = Cell(f"{verdict}, {detail}")
    yield SummaryRow("Agreement", "Hive tables", "", cells)


def warm_up_note(result: Mapping[str, Any]) -> str:
    """Why the online consumer has fewer keys than the batch consumer; "" where no arm does."""
    latencies = [content["latency"] for content in result["arms"].values()]
    counts = [
        [latency.get(consumer, {}).get("n", 0) for consumer in ("online", "batch")] for latency in latencies
    ]
    if all(online >= batch for online, batch in counts):
        return ""
    return (
        "The online consumer has fewer keys than the batch consumer: what arrives in the first seconds of a "
        "replicate, its warm-up, is no part of online latency."
    )


def reasons(rows: Sequence[SummaryRow]) -> list[str]:
    """Why figures are missing: one sentence per group and reason, in order of reading."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for arm, cell in row.cells.items():
            if cell.reason:
                found.setdefault((row.group, cell.reason), []).append(f"{row.label} {arm}")
    return [f"{group}: {', '.join(labels)}: {reason}" for (group, reason), labels in found.items()]


def _figure_cell(figures: Located, name: str, text: Callable[[float], str]) -> Cell:
    found = figures[name]
    if found.value is None:
        return Cell(NOT_MEASURED, str(figures["reasons"][name]))
    return Cell(text(found.value), value=found.value, pointer=found.pointer)


def _latency_cell(figures: Located, statistic: str) -> Cell:
    cell = _figure_cell(figures, f"{statistic}_seconds", duration_text)
    low, high = (figures.get(f"{statistic}_{end}_seconds").value for end in ("low", "high"))
    if low is None or high is None:
        return cell
    return replace(cell, text=f"{cell.text} [{interval_text(low, high)}]")


def _count_cell(found: Located) -> Cell:
    if found.value is None:
        return Cell(NOT_MEASURED, "not recorded")
    return Cell(f"{found.value:,}", value=found.value, pointer=found.pointer)
