"""Finds the data set and workload definitions: TOML files that ship with the project, or a user's own."""

from __future__ import annotations

from pathlib import Path

from signals.errors import ConfigurationError

# A wheel carries them inside the package; a checkout has them beside it.
_CANDIDATES = (Path(__file__).parent / "_datasets", Path(__file__).parent.parent / "datasets")


def definitions_root() -> Path:
    """The folder that holds the definitions."""
    return next(path for path in _CANDIDATES if path.is_dir())


def definition_names(kind: str) -> list[str]:
    """Names of the definitions of one kind (a sub-folder), sorted."""
    return sorted(path.stem for path in (definitions_root() / kind).glob("*.toml"))


def definition_file(kind: str, name_or_path: str) -> Path:
    """The TOML file of a shipped definition, by name, or a user's own, by path. Raises ConfigurationError."""
    own = Path(name_or_path)
    if own.suffix == ".toml":
        if own.is_file():
            return own
        raise ConfigurationError(f"{own} does not exist")
    shipped = definitions_root() / kind / f"{name_or_path}.toml"
    if "/" not in name_or_path and shipped.is_file():
        return shipped
    known = ", ".join(definition_names(kind))
    if own.exists():
        raise ConfigurationError(f"{own} is no .toml file: give one, or one of {known}")
    raise ConfigurationError(
        f"no {kind} definition is called {name_or_path!r}; known: {known}; or give a .toml file"
    )
