"""Lengths of time on the command line."""

from __future__ import annotations

import math
from typing import Any

import click

_UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Duration(click.ParamType):
    """``90``, ``250ms``, ``90s``, ``2m``, ``24h`` or ``1d``, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, as a positive float."""
        if isinstance(value, float):
            return value
        text = str(value)
        number = text.rstrip("".join(_UNITS))
        try:
            seconds = float(number) * _UNITS[text[len(number) :]]
        except (ValueError, KeyError):
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
