"""Geometry of the availability chart on the page: drawn by a template, coloured by the page's style sheet.

A matplotlib SVG can't follow the page's dark mode or width; so the page draws the same curves itself, once
for a wide screen and once for a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports.curves import DASHES, Curve, Label, place_labels, tick_text
from reports.figures import decades

TOP, BOTTOM, RIGHT, LEFT = 12.0, 44.0, 30.0, 46.0
CHARACTER_WIDTH = 8.0  # of a label, generously
MIN_TICK_DISTANCE = 62.0
Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Tick:
    """A grid line with its text; ``at`` in the chart's units."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: SVG path data, its colour's position, its dashes."""

    path: str
    colour: int
    dash: str


@dataclass(frozen=True, slots=True)
class Text:
    """A label beside its curve."""

    x: float
    y: float
    anchor: str
    text: str
    colour: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template draws. Lengths are in the units of the SVG's view box."""

    name: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    labels: tuple[Text, ...]
    description: str


def availability_chart(
    curves: Sequence[Curve], *, name: str, width: float, height: float, short_labels: bool
) -> Chart | None:
    """The chart at one size, or None if nothing became available.

    ``short_labels`` leaves the consumer to the line style: on a phone there is no room for both words.
    """
    if not curves:
        return None
    low, high = decades(list(curves))
    left, right, top, bottom = LEFT, width - RIGHT, TOP, height - BOTTOM

    def x(seconds: float) -> float:
        return left + (math.log10(seconds) - low) / (high - low) * (right - left)

    def y(fraction: float) -> float:
        return bottom - fraction * (bottom - top)

    step = math.ceil(MIN_TICK_DISTANCE * (high - low) / (right - left))
    return Chart(
        name=name,
        width=width,
        height=height,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        x_ticks=tuple(Tick(round(x(10.0**e), 1), tick_text(e)) for e in range(low, high + 1, step)),
        y_ticks=tuple(Tick(round(y(p / 100), 1), f"{p} %") for p in (0, 25, 50, 75, 100)),
        lines=tuple(
            Line(_path(curve, 10.0**high, x, y), curve.colour, DASHES.get(curve.consumer, ""))
            for curve in curves
        ),
        labels=tuple(
            _text(
                label,
                label.curve.arm if short_labels else label.curve.label,
                x(label.curve.seconds_at(label.fraction)),
                y(label.fraction),
                (left, width),
            )
            for label in place_labels(curves)
        ),
        description="; ".join(
            f"{curve.label}: half of the images within {curve.seconds_at(0.5):.3g} s" for curve in curves
        ),
    )


def _text(label: Label, text: str, x: float, y: float, limits: tuple[float, float]) -> Text:
    # A label that would be cut off at an edge moves inwards, over its own curve.
    length = CHARACTER_WIDTH * len(text)
    x = max(x - 7, limits[0] + length) if label.is_left else min(x + 7, limits[1] - length)
    anchor = "end" if label.is_left else "start"
    return Text(x=round(x, 1), y=round(y + 4, 1), anchor=anchor, text=text, colour=label.curve.colour)


def _path(curve: Curve, end_seconds: float, x: Scale, y: Scale) -> str:
    (first, start), *steps = curve.points(end_seconds)
    return f"M{x(first):.1f} {y(start):.1f}" + "".join(f"H{x(s):.1f}V{y(f):.1f}" for s, f in steps)
