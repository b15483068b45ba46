"""Line charts of the page: drawn once per width and axis, so that the page needs no script to be complete."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from reports.scales import Scale

TOP, BOTTOM, RIGHT, LEFT = 30.0, 46.0, 30.0, 64.0
PIXELS_PER_X_TICK, PIXELS_PER_Y_TICK = 74.0, 56.0
MARKERS = 5  # of a line: they tell arms apart where colour doesn't
MARKER_PIXELS = 4.5
# CSS class, width and height; the style sheet shows the one that fits the screen.
SIZES = (("wide", 900.0, 350.0), ("narrow", 380.0, 310.0))


@dataclass(frozen=True, slots=True)
class Band:
    """What a line may vary within: ``low`` and ``high`` at each ``x``."""

    x: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One line: ``x`` ascending, ``y`` of the same length; as steps, or straight from point to point."""

    name: str
    arm: int  # position of the arm: its colour and marker
    dash: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    is_step: bool = False
    band: Band | None = None


@dataclass(frozen=True, slots=True)
class Objective:
    """A line that the reader compares with: at ``x`` or at ``y``."""

    axis: Literal["x", "y"]
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    """One chart. ``scales`` are pairs (x, y) that the reader can switch between; the first one is shown."""

    id: str
    title: str
    x_label: str
    y_label: str
    scales: tuple[tuple[Scale, Scale], ...]
    series: tuple[Series, ...]
    objectives: tuple[Objective, ...] = ()
    switched: Literal["x", "y"] = "x"

    @property
    def choices(self) -> list[str]:
        """What the axis can be switched to: ``log``, ``linear``."""
        return [(x if self.switched == "x" else y).kind for x, y in self.scales]

    @property
    def arms(self) -> list[int]:
        """Positions of the arms that have a line."""
        return sorted({series.arm for series in self.series})

    @property
    def data(self) -> dict[str, Any]:
        """What the script reads values from."""
        return {
            "x": self.scales[0][0].unit,
            "y": self.scales[0][1].unit,
            "series": [
                {"name": s.name, "arm": s.arm, "step": s.is_step, "x": s.x, "y": s.y} for s in self.series
            ],
        }

    @property
    def drawings(self) -> Iterator[Drawing]:
        """Every width with every choice of the axes."""
        for number, (x, y) in enumerate(self.scales):
            for name, width, height in SIZES:
                yield _draw(self, x, y, f"{name} choice{number}", width, height)


@dataclass(frozen=True, slots=True)
class Tick:
    """A grid line with its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A series as SVG path data, with the outline of its band and of its markers."""

    arm: int
    dash: str
    path: str
    band: str
    markers: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart at one size. Lengths are in units of the SVG's view box."""

    css_class: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x: Scale
    y: Scale
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    objectives: tuple[tuple[Objective, float], ...]


def _draw(plot: Plot, x: Scale, y: Scale, css_class: str, width: float, height: float) -> Drawing:
    left, right, top, bottom = LEFT, width - RIGHT, TOP, height - BOTTOM
    most_x = math.floor((right - left) / PIXELS_PER_X_TICK)
    most_y = math.floor((bottom - top) / PIXELS_PER_Y_TICK)
    x, y = x.ending_at_tick(most_x), y.ending_at_tick(most_y)
    area = _Area(x, y, left, right, top, bottom)
    x_ticks, y_ticks = x.ticks(most_x), y.ticks(most_y)
    return Drawing(
        css_class=css_class,
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x=x,
        y=y,
        x_ticks=tuple(Tick(round(area.x_at(value), 1), text) for value, text in x_ticks),
        y_ticks=tuple(Tick(round(area.y_at(value), 1), text) for value, text in y_ticks),
        lines=tuple(area.line(series) for series in plot.series),
        objectives=tuple(
            (o, round(area.x_at(o.value) if o.axis == "x" else area.y_at(o.value), 1))
            for o in plot.objectives
        ),
    )


@dataclass(frozen=True, slots=True)
class _Area:
    x: Scale
    y: Scale
    left: float
    right: float
    top: float
    bottom: float

    def x_at(self, value: float) -> float:
        return self.left + self.x.at(value) * (self.right - self.left)

    def y_at(self, value: float) -> float:
        return self.bottom - self.y.at(value) * (self.bottom - self.top)

    def line(self, series: Series) -> Line:
        points = [(self.x_at(x), self.y_at(y)) for x, y in zip(series.x, series.y, strict=True)]
        return Line(
            arm=series.arm,
            dash=series.dash,
            path=self._path(series.x, series.y, is_step=series.is_step),
            band=self._outline(series),
            markers="".join(marker_at(series.arm, x, y) for x, y in _spread(points)),
        )

    def _outline(self, series: Series) -> str:
        if series.band is None:
            return ""
        x, low, high = series.band.x, series.band.low, series.band.high
        if series.is_step:  # the corners of the steps: a value holds until the next one
            x = tuple(value for pair in zip(x, (*x[1:], x[-1]), strict=True) for value in pair)
            low, high = (tuple(value for value in edge for _ in range(2)) for edge in (low, high))
        return f"{self._path(x, high)}L{self._path(x[::-1], low[::-1])[1:]}Z"

    def _path(self, xs: Sequence[float], ys: Sequence[float], *, is_step: bool = False) -> str:
        parts: list[str] = []
        last = ""
        for x, y in zip(xs, ys, strict=True):
            at_x, at_y = f"{self.x_at(x):.1f}", f"{self.y_at(y):.1f}"
            if (point := f"{at_x} {at_y}") != last:
                parts.append(f"H{at_x}V{at_y}" if last and is_step else f"{'L' if last else 'M'}{point}")
                last = point
        return "".join(parts)


def _spread(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Some of the points, about evenly far from each other along the line."""
    lengths = [0.0]
    for (x0, y0), (x1, y1) in pairwise(points):
        lengths.append(lengths[-1] + abs(x1 - x0) + abs(y1 - y0))
    wanted = [lengths[-1] * (n + 0.5) / MARKERS for n in range(MARKERS)]
    position = 0
    for length in wanted:
        while lengths[position] < length:
            position += 1
        yield points[position]


def marker_at(arm: int, x: float, y: float) -> str:
    """Path data of the marker of an arm around a point: a circle, square, triangle or diamond."""
    r = MARKER_PIXELS
    shapes = (
        f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z",
        f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}Z",
        f"M{x:.1f} {y - r:.1f}l{r} {2 * r}h{-2 * r}Z",
        f"M{x:.1f} {y - 1.3 * r:.1f}l{r} {1.3 * r}l{-r} {1.3 * r}l{-r} {-1.3 * r}Z",
    )
    return shapes[arm % len(shapes)]


def marker(arm: int) -> str:
    """The marker of an arm for a legend, around (8, 8)."""
    return marker_at(arm, 8, 8)
