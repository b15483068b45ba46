"""A workflow: steps that depend on each other, and a record of what each did.

A step declares what it needs and what it gives, by name. A graph that can't work is refused before anything
runs. A step starts only when the steps that it depends on are complete; when one fails, none starts any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Generic, Literal, TypeVar

from signals.errors import ConfigurationError, PipelineError

S = TypeVar("S")
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """One step. ``run(state, inputs)`` returns a JSON-able value for each name in ``outputs``."""

    name: str
    run: Callable[[S, Mapping[str, Any]], Values]
    depends_on: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(slots=True)
class StepRecord:
    """What a step did. ``outcome`` is "running" until it ends. Times in Unix ns."""

    name: str
    depends_on: tuple[str, ...]
    start_ns: int
    inputs: Values
    end_ns: int = 0
    outputs: Values = field(default_factory=dict)
    outcome: Literal["running", "ok", "error"] = "running"
    detail: str = ""


class Workflow(Generic[S]):
    """A checked graph of steps. Raises ConfigurationError for one that can't work.

    ``given`` names the values that come from outside. Every other input must be an output of a step that the
    consumer depends on, directly or through others.
    """

    def __init__(self, steps: Sequence[Step[S]], given: Sequence[str] = ()) -> None:
        by_name = {step.name: step for step in steps}
        if len(by_name) != len(steps):
            raise ConfigurationError("two steps of the workflow have the same name")
        for step in steps:
            if unknown := sorted(set(step.depends_on) - by_name.keys()):
                raise ConfigurationError(f"step {step.name} depends on unknown steps: {', '.join(unknown)}")
        try:
            order = list(TopologicalSorter({s.name: s.depends_on for s in steps}).static_order())
        except CycleError as error:
            raise ConfigurationError(f"steps depend on each other: {' -> '.join(error.args[1])}") from error
        # Among the orders that are possible, the one closest to how the steps were written down.
        self.steps = _stable_order(steps, order)
        self._check_values(by_name, set(given))

    def run(
        self, state: S, given: Mapping[str, Any], on_change: Callable[[list[StepRecord]], None]
    ) -> list[StepRecord]:
        """Run all steps, one at a time. ``on_change`` sees the records whenever a step starts or ends.

        Raises PipelineError, naming the step, for whatever a step raises.
        """
        values: Values = dict(given)
        records: list[StepRecord] = []
        for step in self.steps:
            inputs = {name: values[name] for name in step.inputs}
            record = StepRecord(step.name, step.depends_on, time.time_ns(), inputs)
            records.append(record)
            on_change(records)
            try:
                record.outputs = step.run(state, inputs)
                if record.outputs.keys() != set(step.outputs):
                    raise PipelineError(f"it gave {sorted(record.outputs)}, not {sorted(step.outputs)}")
            except Exception as error:
                record.outcome, record.detail = "error", f"{type(error).__name__}: {error}"
                raise PipelineError(f"step {step.name} failed: {error}") from error
            else:
                record.outcome = "ok"
            finally:
                record.end_ns = time.time_ns()
                on_change(records)
            values.update(record.outputs)
        return records

    def _check_values(self, by_name: dict[str, Step[S]], given: set[str]) -> None:
        producer: dict[str, str] = {}
        for step in self.steps:
            for name in step.outputs:
                if name in producer or name in given:
                    raise ConfigurationError(
                        f"{name} is given by {producer.get(name, 'outside')} and {step.name}"
                    )
                producer[name] = step.name
        for step in self.steps:
            before = _ancestors(step, by_name)
            for name in step.inputs:
                if name not in given and producer.get(name) not in before:
                    raise ConfigurationError(
                        f"step {step.name} needs {name}, which no step that it depends on gives"
                    )


def _ancestors(step: Step[S], by_name: dict[str, Step[S]]) -> set[str]:
    found: set[str] = set()
    waiting = list(step.depends_on)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += by_name[name].depends_on
    return found


def _stable_order(steps: Sequence[Step[S]], possible: Sequence[str]) -> tuple[Step[S], ...]:
    ordered: list[Step[S]] = []
    done: set[str] = set()
    while len(ordered) < len(possible):
        step = next(s for s in steps if s.name not in done and done.issuperset(s.depends_on))
        ordered.append(step)
        done.add(step.name)
    return tuple(ordered)
