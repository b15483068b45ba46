"""The committed JSON Schema of ``result.json``, and the check of a result that comes from elsewhere."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from signals.errors import ConfigurationError


def result_schema() -> bytes:
    """The schema as it is committed."""
    return (files("bench") / "schema" / "result.schema.json").read_bytes()


def check_result(content: Any, name: str) -> None:
    """Raise ConfigurationError, naming the place, unless ``content`` is a result of this schema version."""
    if isinstance(content, dict) and content.get("schema_version") not in (None, _version()):
        raise ConfigurationError(
            f"{name} has schema version {content['schema_version']!r}, this lkbench reads {_version()}: "
            "use the lkbench that made it, of the commit that the run's manifest.json names"
        )
    error = best_match(_validator().iter_errors(content))
    if error is not None:
        raise ConfigurationError(
            f"{name} is no result of lkbench: at {error.json_path}: {error.message[:200]}"
        )


@functools.cache
def _validator() -> Any:
    schema = orjson.loads(result_schema())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def _version() -> int:
    version: int = orjson.loads(result_schema())["properties"]["schema_version"]["const"]
    return version
