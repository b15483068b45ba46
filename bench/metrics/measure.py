"""Flattens a result: the value of every metric, in the run as a whole and in each replicate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.metrics.definition import Definition
from bench.metrics.readers import NOT_RECORDED, Reading
from bench.metrics.registry import DEFINITIONS

# Tables of an arm whose rows say which replicate they are of.
_TABLES = ("nightly_steps",)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One metric of one result. ``replicates`` holds a reading per replicate, by its number."""

    id: str
    definition: Definition
    arm: str | None  # None: of the run as a whole
    reading: Reading
    replicates: Mapping[int, Reading]

    @property
    def value(self) -> float | int | None:
        """The value in the run; None where it could not be measured."""
        return self.reading.value

    @property
    def reason(self) -> str | None:
        """Why there is no value."""
        return self.reading.reason

    @property
    def label(self) -> str:
        """What it is called in a table that names the arm elsewhere."""
        return _fill(self.definition.label, self.arm, self.reading)

    @property
    def where(self) -> str:
        """Place in ``result.json``."""
        return _fill(self.definition.where, self.arm, self.reading)


def measure(result: Mapping[str, Any]) -> list[Measurement]:
    """Every metric that ``result`` (the content of a ``result.json``) has, in the order of the registry."""
    return [
        measurement
        for definition in DEFINITIONS
        for arm in (list(result["arms"]) if definition.is_per_arm else [None])
        for measurement in _of_subject(definition, arm, result)
    ]


def _of_subject(definition: Definition, arm: str | None, result: Mapping[str, Any]) -> Iterator[Measurement]:
    whole = result if arm is None else result["arms"][arm]
    by_replicate = {
        replicate: {
            _fill(definition.pattern, arm, reading): reading for reading in definition.reader.read(content)
        }
        for replicate, content in _replicates(arm, result)
    }
    for reading in definition.reader.read(whole):
        metric_id = _fill(definition.pattern, arm, reading)
        missing = Reading(None, NOT_RECORDED, reading.names)
        yield Measurement(
            id=metric_id,
            definition=definition,
            arm=arm,
            reading=reading,
            replicates={number: found.get(metric_id, missing) for number, found in by_replicate.items()},
        )


def _replicates(arm: str | None, result: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """What each replicate has in place of the content of the whole."""
    if arm is None:
        agreement = result["agreement"]
        for number in sorted({pair["replicate"] for pair in agreement["pairs"]}):
            pairs = [pair for pair in agreement["pairs"] if pair["replicate"] == number]
            yield number, {"agreement": {**agreement, "pairs": pairs}}
        return
    content = result["arms"][arm]
    for number, of_replicate in content["replicates"].items():
        tables = {
            name: {"rows": [row for row in content[name]["rows"] if row.get("replicate") == int(number)]}
            for name in _TABLES
        }
        yield int(number), {**of_replicate, **tables}


def _fill(pattern: str, arm: str | None, reading: Reading) -> str:
    return pattern.format(arm=arm, **reading.names)
