"""Finds architectures under test by entry point, so that a user can add one without touching the harness."""

from __future__ import annotations

from importlib.metadata import entry_points

from signals.architecture import Pipeline
from signals.errors import ConfigurationError

GROUP = "lkbench.arms"


def arm_names() -> list[str]:
    """Installed arms, ``lambda`` and ``kappa`` first."""
    names = {point.name for point in entry_points(group=GROUP)}
    first = [name for name in ("lambda", "kappa") if name in names]
    return first + sorted(names - set(first))


def load_arm(name: str) -> Pipeline:
    """A new instance of the arm called ``name``. Raises ConfigurationError if none is installed."""
    for point in entry_points(group=GROUP):
        if point.name == name:
            arm: Pipeline = point.load()()
            return arm
    raise ConfigurationError(f"no arm is called {name!r}; installed: {', '.join(arm_names()) or 'none'}")
