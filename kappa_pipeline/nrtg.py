"""Near-real-time Galaxy: declared signals become a stream plan, and an engine runs the plan.

A developer of signals writes a declaration (:mod:`signals.declaration`) and never sees an engine. A plan is
a list of operators and names no engine; an engine says which operators it can run, and one that it can't
is refused when the plan is deployed, not when the first image arrives. Keyed aggregations and lookup joins
will be operators beside :class:`ComputeSignals`; another engine implements :class:`StreamEngine`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from signals.catalog import Catalog
from signals.declaration import SignalDeclaration
from signals.errors import ConfigurationError
from signals.record import record_key


@dataclass(frozen=True, slots=True)
class ComputeSignals:
    """Map each media event of one galaxy to the signals that the galaxy keeps; stateless, keyed writes."""

    galaxy: str
    signals: tuple[SignalDeclaration, ...]

    def keys(self, image_signature: str) -> list[bytes]:
        """Rockstore keys of the image's signals, in the order of ``signals``."""
        return [record_key(self.galaxy, s.name, s.version, image_signature) for s in self.signals]


Operator = ComputeSignals  # becomes a union when the next kind of operator exists


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What the stream job does, for every galaxy of the catalog."""

    operators: tuple[Operator, ...]

    def compute(self, galaxy: str) -> ComputeSignals:
        """The signals of ``galaxy``. Raises ConfigurationError for a galaxy outside the catalog."""
        for operator in self.operators:
            if operator.galaxy == galaxy:
                return operator
        raise ConfigurationError(f"the stream plan has no galaxy {galaxy!r}")


class StreamEngine(Protocol):
    """A stream processor that can run plans."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def supports(self) -> frozenset[type]:
        """The kinds of operators that this engine can run."""

    def run(self, plan: StreamPlan) -> None:
        """Run the plan until the process is asked to stop."""


def plan_signals(
    declarations: Iterable[SignalDeclaration], catalog: Catalog, model_outputs: Iterable[str]
) -> StreamPlan:
    """Map declarations onto operators, one :class:`ComputeSignals` per galaxy of the catalog.

    Raises ConfigurationError when a declaration names a galaxy that the catalog lacks or an output that
    the model lacks.
    """
    declared, outputs = tuple(declarations), set(model_outputs)
    for declaration in declared:
        title = f"signal {declaration.name} v{declaration.version}"
        if declaration.model_output not in outputs:
            known = ", ".join(sorted(outputs))
            raise ConfigurationError(
                f"{title} needs the model output {declaration.model_output!r}; the model has {known}"
            )
        if declaration.galaxies != "*" and (strange := set(declaration.galaxies) - set(catalog.galaxies)):
            raise ConfigurationError(f"{title} names galaxies that the catalog lacks: {sorted(strange)}")
    return StreamPlan(
        tuple(
            ComputeSignals(galaxy, tuple(d for d in declared if d.serves(galaxy)))
            for galaxy in catalog.galaxies
        )
    )


def deploy(plan: StreamPlan, engine: StreamEngine) -> None:
    """Run ``plan`` on ``engine``. Raises ConfigurationError, before anything runs, for an operator that the
    engine can't run."""
    for operator in plan.operators:
        if type(operator) not in engine.supports:
            raise ConfigurationError(
                f"{engine.name} can't run {type(operator).__name__} for galaxy {operator.galaxy!r}"
            )
    engine.run(plan)
