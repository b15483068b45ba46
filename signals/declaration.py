"""How a developer declares a signal, once, for every architecture.

A declaration says what a signal is (a named, versioned function of one output of the model), not where it
runs: Lambda's workers and Kappa's stream job both evaluate the same declaration, and a new engine only
has to map declarations onto itself. Functions work on whole batches and know nothing of queues or stores.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Literal

import numpy as np
import numpy.typing as npt

from signals.errors import ConfigurationError

FloatArray = npt.NDArray[np.float32]
SignalFunction = Callable[[FloatArray], FloatArray]
ENTRY_POINTS = "lkbench.signals"
NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,63}")  # names become keys, Hive partitions and topic names


@dataclass(frozen=True, slots=True)
class SignalDeclaration:
    """One signal. Equal and hashed by what is declared; ``function`` is how to compute it.

    Calling a declaration maps a batch of the model's output ``model_output``, float32 (N, D), to a batch
    of values, float32 (N, ...); row i depends on row i alone.
    """

    name: str
    version: int
    model_output: str
    galaxies: Literal["*"] | tuple[str, ...]  # "*": every galaxy
    compare: Literal["cosine", "ranked"]  # how two computations of one value are judged to agree
    function: SignalFunction = field(compare=False, repr=False)

    def __call__(self, output: FloatArray) -> FloatArray:
        """Compute a batch of values; float32 (N, D) -> float32 (N, ...). Raises ConfigurationError when the
        declared function returns something else than one float32-convertible value per row."""
        values = np.ascontiguousarray(self.function(output), dtype=np.float32)
        if values.ndim == 0 or len(values) != len(output):
            raise ConfigurationError(
                f"signal {self.name} v{self.version} must return one value per image of the batch, "
                f"got shape {values.shape} for {len(output)} images"
            )
        return values

    @property
    def title(self) -> str:
        """Name and version, for people."""
        return f"{self.name} v{self.version}"

    def serves(self, galaxy: str) -> bool:
        """Whether ``galaxy`` keeps this signal."""
        return self.galaxies == "*" or galaxy in self.galaxies


_registry: dict[tuple[str, int], SignalDeclaration] = {}


def signal(
    *,
    name: str,
    version: int,
    model_output: str,
    galaxies: Literal["*"] | tuple[str, ...] = "*",
    compare: Literal["cosine", "ranked"] = "cosine",
) -> Callable[[SignalFunction], SignalDeclaration]:
    """Declare the decorated function as a signal; the function's name becomes the declaration.

    A change of what the function computes needs a new ``version``: stored values are keyed by it.
    Raises ConfigurationError for a bad name or version, and for a second declaration of the same signal.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise ConfigurationError(f"signal name {name!r} must be lower case letters, digits and underscores")
    if version < 1:
        raise ConfigurationError(f"signal {name}: the version must be 1 or more, not {version}")

    def declare(function: SignalFunction) -> SignalDeclaration:
        if (name, version) in _registry:
            raise ConfigurationError(f"signal {name} v{version} is declared twice")
        declaration = SignalDeclaration(name, version, model_output, galaxies, compare, function)
        _registry[name, version] = declaration
        return declaration

    return declare


@functools.cache
def _import_declarations() -> None:
    import signals.visual  # noqa: F401  # declares the shipped signals; imports this module, hence here

    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except ConfigurationError:
            raise
        except Exception as error:  # whatever a module does when it is imported
            raise ConfigurationError(
                f"the signals of {point.value} (entry point {point.name} of {ENTRY_POINTS}) can't be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error


def declared_signals() -> tuple[SignalDeclaration, ...]:
    """Every declared signal, ordered by name and version: the shipped ones, and those in the modules that
    installed packages name in the entry point group ``lkbench.signals``.

    Raises ConfigurationError for a module that can't be imported, and for a signal that is declared twice.
    """
    _import_declarations()
    return tuple(_registry[key] for key in sorted(_registry))


def for_galaxy(galaxy: str) -> tuple[SignalDeclaration, ...]:
    """The signals that ``galaxy`` keeps, ordered by name and version."""
    return tuple(declaration for declaration in declared_signals() if declaration.serves(galaxy))
