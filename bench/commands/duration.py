"""Lengths of time on the command line."""

from __future__ import annotations

import math
from typing import Any

import click


class Duration(click.ParamType):
    """``90``, ``90s``, ``2m`` or ``24h``, in seconds."""

    name = "duration"
    _UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}  # noqa: RUF012

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, as a positive float."""
        if isinstance(value, float):
            return value
        text = str(value)
        number, unit = (text[:-1], text[-1]) if text[-1:] in self._UNITS else (text, "s")
        try:
            seconds = float(number) * self._UNITS[unit]
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r} is not a duration such as 30s, 2m or 24h", param, ctx)
        return seconds


class Durations(click.ParamType):
    """Durations separated by commas, in seconds, ascending, each once."""

    name = "durations"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        """Seconds."""
        if isinstance(value, list):
            return value
        return sorted({Duration().convert(text.strip(), param, ctx) for text in str(value).split(",")})
