"""One self-contained HTML page per run: nothing fetched, a strict content security policy, complete without
its script."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment
from markupsafe import Markup

from bench.compare.texts import value_text
from bench.durations import duration_text
from bench.image_names import FILE as IMAGE_NAMES_FILE
from bench.ledger_query import SHARED, sql_text
from bench.manifest import read_manifest
from bench.metrics import Unit, measure
from bench.money import usd_text
from bench.results import FIGURE_QUERIES
from reports.curves import Curve, availability_curves
from reports.lives import lives
from reports.located import Figure, Located, figures
from reports.page import page_environment, write_page
from reports.parts import meaning
from reports.plot import Plot, Series, marker
from reports.plots import availability_plot, backlog_plot, latency_plot, percentile_plot
from reports.policy import Assets
from reports.provenance import environment_rows
from reports.saved_plan import SavedPlan, saved_plan
from reports.stored_result import read_result
from reports.summary import reasons, summary_rows, warm_up_note

QUERIES = (*SHARED, *FIGURE_QUERIES, "survival")
# Shown in the section of their figures; what is neither here nor in the comparison stands at the end.
PLACED = (
    *("conditions", "survival", "percentile_curve", "over_time", "stage_parts", "parts_check"),
    *("device_hours", "nightly_steps", "dead_letters", "lives"),
)
FILLS = ("solid", "light", "medium", "faint")  # CSS classes of neighbouring parts of a bar
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=[a-zµ%]|USD)")
_RANGE = re.compile(r"(?<=\d)-(?=\d)")
MOST_LISTED_FIGURES = 5000  # more of them (many replicates) are left to result.json
SECTIONS = (
    ("comparison", "Comparison"),
    ("over-time", "Over time"),
    ("stages", "Stages"),
    ("devices", "Devices"),
    ("costs", "Cost"),
    ("plan", "Decision map"),
    ("nights", "Nights"),
    ("dead-letters", "Dead letters"),
    ("lives", "Single images"),
    ("agreement", "Agreement"),
    ("environment", "Environment"),
    ("data", "Every figure"),
)
RAW_DATA = {
    "result.json": "every figure, as JSON",
    "manifest.json": "what ran: configuration, seed, versions, machine",
    "ledger/events.parquet": "every event, as Parquet",
    IMAGE_NAMES_FILE: "names of the image files, as Parquet",
    "plan.json": "the plan, as JSON",
    "logs": "logs of every process",
    "arms": "Hive tables of every arm and replicate",
}


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` into the run folder, from ``result.json`` and the manifest.

    Raises ConfigurationError if the run has no result.
    """
    page = render(read_result(run_dir), read_manifest(run_dir), run_dir)
    return write_page(page, run_dir / "report.html")


def render(result: dict[str, Any], manifest: Mapping[str, Any], run_dir: Path) -> str:
    """The page as text."""
    arms = list(result["arms"])
    rows = summary_rows(result)
    plan = saved_plan(run_dir)
    located, charts = Located(result), result["charts"]
    curves = availability_curves(charts, arms)
    listed = list(figures(located))
    assets = Assets.load()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            result=located,
            manifest=manifest,
            arms=arms,
            summary=rows,
            missing=reasons(rows),
            warm_up_note=warm_up_note(result),
            summary_queries=dict.fromkeys(row.query for row in rows if row.query),
            plots=_plots(charts, curves, arms, _freshness_seconds(manifest, plan)),
            bandless=sorted({curve.band_reason for curve in curves if curve.band_reason}),
            lives=sorted(lives(located["lives"]["images"]), key=lambda life: arms.index(life.arm)),
            longest_allocated=_longest_allocated(result),
            dearest_usd=_dearest(result),
            night_end=_night_end(result),
            plan=plan,
            environment=environment_rows(manifest),
            config=orjson.dumps(manifest.get("config"), option=orjson.OPT_INDENT_2, default=str).decode(),
            metrics=measure(result),
            figures=_listed(listed),
            queries={name: sql_text(name) for name in QUERIES},
            sections=[(anchor, text) for anchor, text in SECTIONS if anchor != "plan" or plan],
            placed=PLACED,
            raw_data={name: text for name, text in RAW_DATA.items() if (run_dir / name).exists()},
            # Our own files; their hashes are what the policy allows.
            style=Markup(assets.style),  # noqa: S704
            script=Markup(assets.script),  # noqa: S704
            policy=assets.policy,
        )
    )


def _plots(
    charts: Mapping[str, Any],
    curves: list[Curve],
    arms: list[str],
    freshness_seconds: float | None,
) -> dict[str, Plot]:
    plots = (
        availability_plot(curves, freshness_seconds),
        percentile_plot(charts["percentiles"]["rows"], arms),
        latency_plot(charts["over_time"]["rows"], arms),
        backlog_plot(charts["over_time"]["rows"], arms),
    )
    return {plot.id: plot for plot in plots if plot is not None}


def _freshness_seconds(manifest: Mapping[str, Any], plan: SavedPlan | None) -> float | None:
    """The objective that the run was given, else that of a plan beside it."""
    own: float | None = manifest.get("freshness_seconds")
    return own if own is not None or plan is None else plan.freshness_seconds


def _listed(listed: list[Figure]) -> list[Figure]:
    if len(listed) <= MOST_LISTED_FIGURES:
        return listed
    return [figure for figure in listed if "/replicates/" not in figure.pointer]


def _longest_allocated(result: Mapping[str, Any]) -> float:
    pools = [pool for content in result["arms"].values() for pool in content["device_hours"]["pools"]]
    return max(
        (max(pool["allocated_hours"] or 0.0, pool["busy_hours"] or 0.0) for pool in pools), default=0.0
    )


def _dearest(result: Mapping[str, Any]) -> float:
    stages = [stage for content in result["arms"].values() for stage in content["cost"]["stages"]]
    return max(
        (
            (stage["used_per_million_signals_usd"] or 0.0) + (stage["idle_per_million_signals_usd"] or 0.0)
            for stage in stages
        ),
        default=0.0,
    )


def _night_end(result: Mapping[str, Any]) -> float:
    steps = [step for content in result["arms"].values() for step in content["nightly_steps"]["rows"]]
    return max((step["start_seconds"] + step["duration_seconds"] for step in steps), default=0.0)


def _environment() -> Environment:
    environment = page_environment()
    environment.filters.update(
        groupby_in_order=_group_in_order,
        glue=_glue,
        seconds=lambda located: _figure(located, duration_text),
        hours=lambda located: _figure(located, lambda hours: value_text(hours, Unit.HOURS)),
        count=lambda located: _figure(located, "{:,}".format),
        number=lambda located: _figure(located, "{:.4g}".format),
        cosine=lambda located: _figure(located, "{:.7f}".format),
        digits=lambda value: f"{value:.6g}" if isinstance(value, float) else f"{value:,}",
        percent=lambda located: _figure(located, lambda share: f"{100 * share:.1f} %"),
        of_consumer=lambda rows, name: [row for row in rows if row["consumer"].value == name],
        usd=lambda located: _figure(located, usd_text),
        styles=_styles,
    )
    environment.globals.update(
        share=_share,
        moment=_moment,
        marker=marker,
        meaning=meaning,
        fills=FILLS,
    )
    return environment


def _figure(located: Located, text: Any) -> Markup:
    """A number of the result with its exact value and its place in ``result.json``."""
    if located.value is None:
        return Markup('<span class="soft">not measured</span>')
    template = Markup('<data value="{}" data-pointer="{}">{}</data>')
    return template.format(repr(located.value), located.pointer, _glue(text(located.value)))


def _styles(series: Iterable[Series]) -> dict[str, str]:
    """What the dashes of a chart stand for: the part of a line's name behind its arm -> dash."""
    return {line.name.rpartition(", ")[2]: line.dash for line in series}


def _glue(text: str) -> str:
    """Keep a number and its unit, and a range, on one line; all else may wrap."""
    glued = _BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", text)
    return _RANGE.sub("\N{NON-BREAKING HYPHEN}", glued)


def _group_in_order(rows: Iterable[Any], *names: str) -> list[tuple[Any, list[Any]]]:
    def key(row: Any) -> Any:
        if isinstance(row, Located):
            return tuple(row[name].value for name in names)
        return tuple(getattr(row, name) for name in names)

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
