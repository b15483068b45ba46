"""One self-contained HTML page about a folder of runs: small charts, one per metric, without a script."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from bench.change_point import MIN_VALUES
from bench.compare.texts import HEADLINES, value_text
from bench.history import ALPHA, Chart, Group, History, Trend
from bench.metrics import Unit
from reports.page import page_environment, write_page
from reports.plot import Tick, marker, marker_at
from reports.policy import Assets, style_policy
from reports.scales import Scale, linear_scale

WIDTH, HEIGHT = 320.0, 150.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 10.0, 10.0, 24.0
MOST_X_TICKS, MOST_Y_TICKS = 6, 3
ARM_DASHES = ("", "6 3", "2 3", "8 3 2 3")
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Line:
    """A trend as SVG path data: its line, the markers of VALID runs, the hollow ones of INVALID runs."""

    arm: int  # position of the arm: colour, marker and dash
    path: str
    markers: str
    hollow: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A small chart; lengths are in units of the view box."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    changes: tuple[float, ...]  # left of the first run after a shift


def write_history(history: History, path: Path) -> Path:
    """Write the page to ``path``. Returns it."""
    style = Assets.load().style
    page = (
        _environment()
        .get_template("history.html.j2")
        .render(
            history=history,
            alpha=ALPHA,
            min_values=MIN_VALUES,
            style=Markup(style),  # noqa: S704 - our own file; its hash is what the policy allows
            policy=style_policy(style),
            area={"left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": HEIGHT - BOTTOM},
            size=(WIDTH, HEIGHT),
        )
    )
    return write_page(page, path)


def draw(group: Group, chart: Chart) -> Drawing:
    """The chart of one metric, from zero up."""
    shown = [value for trend in chart.trends for value in trend.values if value is not None]
    scale = _scale(chart.definition.unit, max(shown)).ending_at_tick(MOST_Y_TICKS)
    count = len(group.runs)
    step = math.ceil(count / MOST_X_TICKS)
    changed = sorted({trend.change.run for trend in chart.trends if trend.change is not None})
    return Drawing(
        lines=tuple(_line(group, trend, chart.definition.unit, scale) for trend in chart.trends),
        x_ticks=tuple(Tick(_x(n, count), str(n)) for n in range(1, count + 1, step)),
        y_ticks=tuple(Tick(_y(scale, value), text) for value, text in scale.ticks(MOST_Y_TICKS)),
        changes=tuple(_x(run - 0.5, count) for run in changed),
    )


def _line(group: Group, trend: Trend, unit: Unit, scale: Scale) -> Line:
    """Joins VALID runs past INVALID ones; a VALID run without a value is a gap."""
    arm = _arm(group, trend)
    markers, hollow, path = "", "", ""
    pen = "M"
    for run, value in zip(group.runs, trend.values, strict=True):
        if value is None:
            pen = "M" if run.is_valid else pen
            continue
        x, y = _x(run.number, len(group.runs)), _y(scale, _in_axis_unit(value, unit))
        if run.is_valid:
            path += f"{pen}{x} {y}"
            pen = "L"
            markers += marker_at(arm, x, y)
        else:
            hollow += marker_at(arm, x, y)
    return Line(arm, path, markers, hollow)


def _arm(group: Group, trend: Trend) -> int:
    """Position of the arm; what all arms share comes behind them, with looks of its own."""
    return len(group.arms) if trend.arm is None else group.arms.index(trend.arm)


def _x(number: float, count: int) -> float:
    return round(LEFT + (WIDTH - RIGHT - LEFT) * (number - 0.5) / count, 1)


def _y(scale: Scale, value: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * scale.at(value), 1)


def _scale(unit: Unit, largest: float) -> Scale:
    if unit in (Unit.SECONDS, Unit.SECONDS_PER_IMAGE, Unit.HOURS):
        return linear_scale("seconds", _in_axis_unit(largest, unit))
    if unit is Unit.RATIO:
        return linear_scale("share", largest)
    if unit in (Unit.PER_IMAGE, Unit.USD):
        return linear_scale("number", largest)
    return linear_scale("count", largest)


def _in_axis_unit(value: float, unit: Unit) -> float:
    return value * SECONDS_PER_HOUR if unit is Unit.HOURS else value


def _sections(group: Group) -> Iterator[tuple[str, bool, list[Chart]]]:
    """(title, is open, charts): what shifted and the headlines first, the rest by the query it is from."""
    first = [chart for chart in group.charts if _is_first(chart)]
    if first:
        yield "Headlines, and what shifted", True, first
    rest: dict[str, list[Chart]] = {}
    for chart in group.charts:
        if not _is_first(chart):
            rest.setdefault(chart.definition.query.replace("_", " ") or "Hive tables", []).append(chart)
    for query, charts in rest.items():
        yield query, False, charts


def _is_first(chart: Chart) -> bool:
    return chart.name in HEADLINES or any(trend.change is not None for trend in chart.trends)


def _environment() -> Environment:
    environment = page_environment()
    environment.globals.update(
        marker=marker,
        dashes=ARM_DASHES,
        draw=draw,
        sections=_sections,
        value_text=value_text,
    )
    return environment
