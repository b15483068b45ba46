"""The grammar of a threshold: one metric, one comparison, one limit, in a short string.

::

    kappa.online.p95 < 2 s                  a limit in the metric's unit, or one that converts to it
    lambda.gpu_hours <= +3 % vs base        a limit on the change against a base run
    agreement == 1                          counts have no unit

A metric is written as in ``docs/metrics.md``; the unit at the end of its name may be left out.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.metrics import DEFINITIONS, Definition, Unit
from signals.errors import ConfigurationError

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_UNITS: dict[Unit, dict[str, float]] = {
    Unit.SECONDS: {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0},
    Unit.HOURS: {"s": 1 / 3600, "min": 1 / 60, "h": 1.0},
    Unit.PER_SECOND: {"images/s": 1.0, "/s": 1.0},
    Unit.SECONDS_PER_IMAGE: {"us/image": 1e-6, "ms/image": 1e-3, "s/image": 1.0},
    Unit.PER_IMAGE: {"/image": 1.0},
    Unit.BYTES: {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9},
    Unit.USD: {"USD": 1.0},
    Unit.COUNT: {"": 1.0},
    Unit.RATIO: {"": 1.0},
}
_ENDINGS = ("_seconds", "_hours", "_per_second", "_per_image", "_bytes", "_usd")
_POOLS = ("online", "nightly", "stream")
_FORM = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*(<=|>=|==|<|>)\s*(.*?)\s*")
_ABSOLUTE = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)\s*([A-Za-z/%]*)")
_RELATIVE = re.compile(r"([+-][0-9]+(?:\.[0-9]+)?)\s*%\s+vs\s+base")


@dataclass(frozen=True, slots=True)
class Threshold:
    """One threshold. ``limit`` is in the unit of the metric or, if ``is_relative``, a share of the base."""

    text: str
    metric_id: str
    definition: Definition
    operator: str
    limit: float
    is_relative: bool

    def holds(self, value: float) -> bool:
        """Whether ``value`` (or the change, as a share) is within the limit."""
        return OPERATORS[self.operator](value, self.limit)

    @property
    def is_upper(self) -> bool:
        """Whether values may be too large."""
        return self.operator in ("<", "<=")

    def worst(self, values: Sequence[float]) -> float:
        """The one of ``values`` (in the metric's unit) that is least likely to hold."""
        if self.operator == "==":
            return max(values, key=lambda value: abs(value - self.limit))
        return max(values) if self.is_upper else min(values)


def parse_threshold(text: str, known: dict[str, Definition]) -> Threshold:
    """The threshold that ``text`` says, of one of the metrics ``known``.

    Raises ConfigurationError for another form, for a metric that does not exist (naming the nearest), for a
    missing unit or one that does not fit, and for asking a time to equal a number.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ConfigurationError(
            f"threshold {text!r} is not understood: write METRIC < LIMIT, such as kappa.online.p95 < 2 s"
        )
    name, sign, limit = form.groups()
    metric_id = _find(name, text, known)
    definition = known[metric_id]
    is_exact = definition.unit in (Unit.COUNT, Unit.RATIO)
    if sign == "==" and not is_exact:
        raise ConfigurationError(
            f"threshold {text!r}: a measured {definition.unit} is never exact; use < or >"
        )
    if relative := _RELATIVE.fullmatch(limit):
        if sign == "==":
            raise ConfigurationError(f"threshold {text!r}: a change is limited with < or >, not with ==")
        return Threshold(
            text.strip(), metric_id, definition, sign, float(relative[1]) / 100, is_relative=True
        )
    value = _absolute(limit, text, definition.unit)
    return Threshold(text.strip(), metric_id, definition, sign, value, is_relative=False)


def known_metrics(found: dict[str, Definition], arms: Iterable[str]) -> dict[str, Definition]:
    """What a threshold may ask for: the metrics of a result, and those that it could have had."""
    known = dict(found)
    for definition in DEFINITIONS:
        if set(definition.placeholders) <= {"arm", "pool"}:
            for arm in arms if definition.is_per_arm else [""]:
                for pool in _POOLS if "pool" in definition.placeholders else [""]:
                    known.setdefault(definition.pattern.format(arm=arm, pool=pool), definition)
    return known


def _find(name: str, text: str, known: dict[str, Definition]) -> str:
    short = {metric_id: metric_id for metric_id in known}
    for metric_id in known:
        for ending in _ENDINGS:
            if metric_id.endswith(ending):
                short.setdefault(metric_id.removesuffix(ending), metric_id)
    if name in short:
        return short[name]
    raise ConfigurationError(f"threshold {text!r}: no metric is called {name}{_nearest(name, short)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    found: Sequence[str] = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; do you mean {found[0]}?" if found else "; docs/metrics.md lists them"


def _absolute(limit: str, text: str, unit: Unit) -> float:
    match = _ABSOLUTE.fullmatch(limit)
    units = _UNITS[unit]
    if match is None:
        raise ConfigurationError(
            f"threshold {text!r}: {limit!r} is no limit: write a number with its unit, or +3 % vs base"
        )
    if match[2] == "%":
        raise ConfigurationError(f"threshold {text!r}: write a change as +3 % vs base, with its sign")
    if match[2] not in units:
        wanted = " or ".join(name for name in units if name) or "no unit"
        given = f"{match[2]!r} is no unit of it" if match[2] else "the unit is missing"
        raise ConfigurationError(
            f"threshold {text!r}: {given}; it takes {wanted}{_nearest_unit(match[2], units)}"
        )
    return float(match[1]) * units[match[2]]


def _nearest_unit(given: str, units: dict[str, float]) -> str:
    found = (
        difflib.get_close_matches(given, [name for name in units if name], n=1, cutoff=0.4) if given else []
    )
    return f"; do you mean {found[0]}?" if found else ""
