"""One self-contained HTML page per run: no script, nothing fetched, a strict content security policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.durations import duration_text
from bench.image_names import printable
from bench.ledger_query import sql_text
from bench.manifest import read_manifest
from bench.results import FIGURE_QUERIES
from reports.chart import availability_chart
from reports.curves import availability_curves
from reports.summary import hours_text, reasons, summary_rows
from signals.errors import ConfigurationError

# CSS class, width, height, short labels: which chart is shown depends on the width of the screen
CHARTS = (("wide", 900.0, 400.0, False), ("narrow", 380.0, 320.0, True))
QUERIES = ("base", *FIGURE_QUERIES, "availability")


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` into the run folder, from ``result.json``, the manifest and the ledger.

    Raises ConfigurationError if the run has no result.
    """
    result_path = run_dir / "result.json"
    if not result_path.is_file():
        raise ConfigurationError(f"{run_dir} has no result.json: only a run that ended can be reported")
    result = orjson.loads(result_path.read_bytes())
    page = render(result, read_manifest(run_dir), run_dir)
    path = run_dir / "report.html"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)
    return path


def render(result: Mapping[str, Any], manifest: Mapping[str, Any], run_dir: Path) -> str:
    """The page as text."""
    arms = list(result["arms"])
    rows = summary_rows(result)
    curves = availability_curves(run_dir, arms)
    charts = [
        availability_chart(curves, name=name, width=width, height=height, short_labels=short)
        for name, width, height, short in CHARTS
    ]
    style = (files("reports") / "templates" / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            result=result,
            manifest=manifest,
            arms=arms,
            summary=rows,
            missing=reasons(rows),
            summary_queries=dict.fromkeys(row.query for row in rows if row.query),
            charts=[chart for chart in charts if chart is not None],
            nights=_nights(result),
            night_end=_night_end(result),
            dead_letters=[
                {"arm": arm, **row}
                for arm, content in result["arms"].items()
                for row in content["dead_letters"]["rows"]
            ],
            environment=list(_environment_rows(manifest)),
            config=orjson.dumps(manifest.get("config"), option=orjson.OPT_INDENT_2, default=str).decode(),
            queries={name: sql_text(name) for name in QUERIES},
            style=Markup(style),  # noqa: S704  # our own file; its hash is what the policy allows
            style_hash=f"sha256-{digest}",
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["groupby_in_order"] = _group_in_order
    environment.filters["glue"] = _glue
    environment.filters["printable"] = printable
    environment.globals.update(
        duration=lambda seconds: _glue(duration_text(seconds)),
        hours=lambda hours: _glue(hours_text(hours)),
        share=_share,
        moment=_moment,
    )
    return environment


def _glue(text: str) -> str:
    """Keep a number and its unit on one line; a value in brackets may go to the next."""
    return text.replace(" ", "\N{NO-BREAK SPACE}").replace("\N{NO-BREAK SPACE}(", " (")


def _group_in_order(rows: Iterable[Any], name: str) -> list[tuple[Any, list[Any]]]:
    def key(row: Any) -> Any:
        return row[name] if isinstance(row, Mapping) else getattr(row, name)

    return [(value, list(group)) for value, group in groupby(rows, key=key)]


def _moment(iso: str | None) -> str:
    """``2026-11-24T12:00:00.000+00:00`` -> ``2026-11-24 12:00:00 UTC``."""
    if not iso:
        return "an unknown time"
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _share(part: float, whole: float) -> float:
    """Per cent of ``whole``, within 0 to 100; what is too short to be seen gets a hairline."""
    if whole <= 0:
        return 0.0
    return round(min(100.0, max(0.4 if part > 0 else 0.0, 100 * part / whole)), 2)


def _nights(result: Mapping[str, Any]) -> dict[str, list[tuple[str, list[Any]]]]:
    nights: dict[str, list[tuple[str, list[Any]]]] = {}
    for arm, content in result["arms"].items():
        steps = content["nightly_steps"]["rows"]
        by_night = groupby(steps, key=lambda step: (step["replicate"], step["day"]))
        nights[arm] = [
            (f"replicate {replicate}, day {day + 1}", list(group)) for (replicate, day), group in by_night
        ]
    return nights


def _night_end(result: Mapping[str, Any]) -> float:
    steps = [step for content in result["arms"].values() for step in content["nightly_steps"]["rows"]]
    return max((step["start_seconds"] + step["duration_seconds"] for step in steps), default=0.0)


def _environment_rows(manifest: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    machine, model = manifest.get("machine") or {}, manifest.get("model") or {}
    commit = manifest.get("commit")
    yield (
        "machine",
        f"{machine.get('cpu')}, {machine.get('cores')} cores, {_gib(machine.get('memory_bytes'))}",
    )
    yield "platform", str(machine.get("platform"))
    yield "device", f"{manifest.get('device')}, {manifest.get('workers')} workers per pool"
    yield "model", f"{model.get('name')}, sha256 {model.get('sha256')}"
    yield (
        "workload",
        (
            f"{manifest.get('workload')}, data set {manifest.get('dataset')}, seed {manifest.get('seed')}, "
            f"{manifest.get('replicates')} replicates of {manifest.get('days')} days"
        ),
    )
    if commit:
        yield "commit", f"{commit['sha']}{' with uncommitted changes' if commit['dirty'] else ''}"
    else:
        yield "commit", "not run from a checkout"
    versions = manifest.get("versions") or {}
    yield "versions", ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _gib(size_bytes: int | None) -> str:
    return "memory unknown" if size_bytes is None else f"{size_bytes / 2**30:.1f} GiB"
