"""Axes of the charts on the page: where a value lies, and which values get a tick."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from bench.durations import duration_text

Kind = Literal["linear", "log", "nines"]
Unit = Literal["seconds", "share", "count", "number"]
NICE_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
LONGEST_IN_SECONDS = 120.0  # as in duration_text: beyond, minutes and hours
NINES = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
LEAST_OF_A_TICK = 0.7  # of the room that a tick has on average: its text just fits
TIME_STEPS = (30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """``low`` to ``high``, in ``unit``. ``nines``: 90 %, 99 %, … of a share are equally far apart."""

    kind: Kind
    unit: Unit
    low: float
    high: float

    def at(self, value: float) -> float:
        """The place of a value, 0 at ``low`` and 1 at ``high``; what lies outside is moved to the edge."""
        low, high = self._warp(self.low), self._warp(self.high)
        return (self._warp(min(max(value, self.low), self.high)) - low) / (high - low)

    def ending_at_tick(self, most: int) -> Scale:
        """A linear scale made longer, to the next of its ``ticks(most)``, so that its highest value can be
        read off; any other as it is."""
        if self.kind != "linear":
            return self
        step = self._tick_step(most)
        high = math.ceil(self.high / step - 1e-9) * step
        if high <= self.high * (1 + 1e-9):
            return self
        return replace(self, high=high).ending_at_tick(most)  # beyond two minutes it has other steps

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """At most about ``most`` values with their texts, from low to high."""
        values: list[float] = []
        if self.kind == "nines":
            for value in NINES:
                is_far = not values or self.at(value) - self.at(values[-1]) >= LEAST_OF_A_TICK / max(most, 1)
                if value <= self.high + 1e-12 and is_far:
                    values.append(value)
        elif self.kind == "log":
            low, high = round(math.log10(self.low)), round(math.log10(self.high))
            step = math.ceil((high - low) / max(most, 1))
            values = [10.0**exponent for exponent in range(low, high + 1, step)]
        else:
            step_size = self._tick_step(most)
            first, last = math.ceil(self.low / step_size), math.floor(self.high / step_size + 1e-9)
            values = [n * step_size for n in range(first, last + 1)]
        return [(value, self.text(value)) for value in values]

    def text(self, value: float) -> str:
        """A tick's value as text."""
        if self.unit == "share":
            return f"{100 * value:.6g} %"
        if self.unit == "count":
            return f"{value:,.0f}"
        if self.unit == "number":
            return f"{value:,.4g}"
        return tick_text(value) if self.kind == "log" else "0" if value == 0 else _short(duration_text(value))

    def _tick_step(self, most: int) -> float:
        least = (self.high - self.low) / max(most, 1)
        if self.unit == "seconds" and self.high > LONGEST_IN_SECONDS:
            return next((step for step in TIME_STEPS if step >= least), nice_step(least / 3600) * 3600)
        if self.unit == "count":
            step = nice_step(max(least, 1.0))
            return 5.0 if step == 2.5 else step  # nobody counts halves
        return nice_step(least)

    def _warp(self, value: float) -> float:
        if self.kind == "log":
            return math.log10(value)
        return -math.log10(1 - value) if self.kind == "nines" else value


def log_scale(unit: Unit, smallest: float, largest: float) -> Scale:
    """Whole decades around ``smallest`` and ``largest``, both above 0."""
    low, high = math.floor(math.log10(smallest)), math.ceil(math.log10(largest))
    return Scale("log", unit, 10.0**low, 10.0 ** max(high, low + 1))


def linear_scale(unit: Unit, largest: float) -> Scale:
    """From 0 to ``largest``, or to 1 where that is 0."""
    return Scale("linear", unit, 0.0, largest if largest > 0 else 1.0)


def tick_text(seconds: float) -> str:
    """A power of ten: ``10 ms``, ``1 s``, ``10,000 s``."""
    return f"{round(seconds * 1000)} ms" if 1e-3 <= seconds < 1 else f"{seconds:,.6g} s"


def nice_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return power * next(step for step in NICE_STEPS if step * power >= least * (1 - 1e-9))


def _short(text: str) -> str:
    """``10.0 ms`` -> ``10 ms``: a tick has round values."""
    number, unit = text.split(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"
