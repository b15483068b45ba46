"""What is said about a metric: name, unit, direction, noise, definition, and where it is in a result."""

from __future__ import annotations

import string
from dataclasses import dataclass
from enum import StrEnum

from bench.metrics.readers import Reader


class Unit(StrEnum):
    """Unit of a metric; each metric has one."""

    SECONDS = "s"
    HOURS = "h"
    PER_SECOND = "images/s"
    SECONDS_PER_IMAGE = "s/image"
    PER_IMAGE = "1/image"
    BYTES = "B"
    USD = "USD"
    COUNT = "count"
    RATIO = "ratio"


class Direction(StrEnum):
    """Which values are better."""

    SMALLER = "smaller is better"
    BIGGER = "bigger is better"
    EXACT = "should not change"  # neither side is better: a difference means other work was done
    CONTEXT = "context"  # says under which conditions the others were measured


class Noise(StrEnum):
    """How far two runs of the same code differ."""

    TIME = "time"  # by what the machine does, and when: compared with a test, against a noise floor
    COUNT = "count"  # hardly at all: compared as they are


@dataclass(frozen=True, slots=True)
class Definition:
    """A family of metrics: one for every arm (pool, step, …) that a result has.

    ``pattern`` is the name with placeholders, such as ``{arm}.{pool}.busy_hours``. ``query`` names the file
    below ``bench/sql`` whose column it is; empty where the figure comes from the Hive partitions.
    """

    pattern: str
    label: str
    unit: Unit
    direction: Direction
    noise: Noise
    definition: str
    query: str
    reader: Reader
    tag: str = "measured"

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Names of the placeholders, in order."""
        return tuple(field for _, field, _, _ in string.Formatter().parse(self.pattern) if field)

    @property
    def is_per_arm(self) -> bool:
        """Whether each arm has one; the others are of the run as a whole."""
        return "arm" in self.placeholders

    @property
    def where(self) -> str:
        """Place in ``result.json``, with the same placeholders."""
        return f"arms.{{arm}}.{self.reader.where}" if self.is_per_arm else self.reader.where
