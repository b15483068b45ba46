"""The configuration file: one TOML file, everything in it optional, every unknown key an error."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from signals.errors import ConfigurationError

_T = TypeVar("_T")
_SECRET = "***"  # noqa: S105 (what is shown in place of one)
_POSTGRES_SCHEMES = ("postgresql://", "postgres://")


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """An external Kafka; with no ``bootstrap`` the harness starts its own."""

    bootstrap: str = ""  # host:port, several separated by commas
    options: dict[str, str] = field(default_factory=dict)  # more librdkafka options


@dataclass(frozen=True, slots=True)
class S3Config:
    """An external S3 endpoint; with no ``endpoint`` the harness starts its own."""

    endpoint: str = ""  # host or host:port, no scheme
    access_key: str = ""
    secret_key: str = ""
    bucket: str = ""  # created unless it exists
    secure: bool = False
    region: str = "us-east-1"


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    """An external PostgreSQL; with no ``dsn`` the harness starts its own."""

    dsn: str = ""  # libpq URI of a user who may create databases


@dataclass(frozen=True, slots=True)
class GssConfig:
    """An external Galaxy Signal Service; with no ``endpoint`` the harness starts its own.

    It must see the folder of the run under the same path: stores are dumped to files and uploaded as files.
    """

    endpoint: str = ""  # host:port
    token: str = ""


@dataclass(frozen=True, slots=True)
class SparkConfig:
    """Where Spark runs."""

    master: str = ""  # empty: local, on at most two cores
    conf: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The model; empty: the built-in one."""

    path: str = ""  # a model folder (model.onnx with its manifest)


@dataclass(frozen=True, slots=True)
class InferenceConfig:
    """Devices per pool and how requests are batched on them. With an ``endpoint``, Lambda's online path uses
    that inference service, or those, each PinLater worker one of them; the other pools still run here."""

    endpoint: str = ""  # host:port, several separated by commas
    token: str = ""
    device: Literal["cpu", "cuda"] = "cpu"
    workers: int = field(default_factory=lambda: min(2, os.cpu_count() or 1))
    max_batch: int = 8
    max_batch_wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ServicesConfig:
    """How many of a server the harness starts, where it starts it at all. By default as few as will do; with
    more, one machine has the layout of a cluster."""

    kafka_brokers: int = 1
    spark_workers: int = 0  # of a standalone cluster, one core each; 0: Spark runs inside its application
    stream_workers: int = 1  # that read the stream and share the [inference] workers, at least one each
    inference_services: int = 0  # that share the [inference] workers; 0: the arm that needs it starts one


@dataclass(frozen=True, slots=True)
class HarnessConfig:
    """Everything that a configuration file can say."""

    catalog: str = ""  # path of a catalog of pipelines; empty: the one that ships
    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    s3: S3Config = field(default_factory=S3Config)
    postgres: PostgresConfig = field(default_factory=PostgresConfig)
    gss: GssConfig = field(default_factory=GssConfig)
    spark: SparkConfig = field(default_factory=SparkConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    services: ServicesConfig = field(default_factory=ServicesConfig)

    @classmethod
    def load(cls, path: Path | None = None) -> HarnessConfig:
        """Read a file; the defaults without one. Relative paths in it are relative to it.

        Raises ConfigurationError, naming the file and the key.
        """
        if path is None:
            return cls()
        try:
            raw = tomllib.loads(path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path} can't be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{path}: {error}") from error
        config = _parse(cls, _with_absolute_paths(raw, path.absolute().parent), str(path), "")
        _validate(config, str(path))
        return config

    def public(self) -> dict[str, Any]:
        """All settings with secrets masked, as plain values for the manifest."""
        shown = asdict(self)
        for key in ("access_key", "secret_key"):
            shown["s3"][key] = _SECRET if shown["s3"][key] else ""
        for section in ("gss", "inference"):
            shown[section]["token"] = _SECRET if shown[section]["token"] else ""
        # Any of these may carry a password; the key tells what was set.
        shown["postgres"]["dsn"] = _without_password(self.postgres.dsn)
        for section, key in (("kafka", "options"), ("spark", "conf")):
            shown[section][key] = dict.fromkeys(shown[section][key], _SECRET)
        return shown


def _parse(target: type[_T], raw: Mapping[str, Any], file: str, section: str) -> _T:
    """Build a dataclass from a table, checking the names and types of its keys."""
    where = f"{file}: [{section}] " if section else f"{file}: "
    hints = get_type_hints(target)
    if unknown := sorted(set(raw) - set(hints)):
        raise ConfigurationError(f"{where}unknown key {', '.join(unknown)}; known are {', '.join(hints)}")
    values: dict[str, Any] = {}
    for key, value in raw.items():
        hint = hints[key]
        if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
            if not isinstance(value, dict):
                raise ConfigurationError(f"{where}{key} must be a section: write [{key}]")
            values[key] = _parse(hint, value, file, key)
        elif not _fits(value, hint):
            raise ConfigurationError(f"{where}{key} must be {_describe(hint)}, not {value!r}")
        else:
            values[key] = float(value) if hint is float else value
    return target(**values)


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is dict:
        return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is hint


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(choice) for choice in get_args(hint))
    names = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(hint, "a table of strings")


def _with_absolute_paths(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    model = raw.get("model")
    if isinstance(model, dict) and isinstance(model.get("path"), str) and model["path"]:
        raw = {**raw, "model": {**model, "path": str(folder / Path(model["path"]).expanduser())}}
    if isinstance(raw.get("catalog"), str) and raw["catalog"]:
        raw = {**raw, "catalog": str(folder / Path(raw["catalog"]).expanduser())}
    return raw


def _validate(config: HarnessConfig, file: str) -> None:
    s3 = config.s3
    given = {f.name for f in fields(s3) if f.default is not MISSING and getattr(s3, f.name) != f.default}
    if given and (
        missing := [k for k in ("endpoint", "access_key", "secret_key", "bucket") if k not in given]
    ):
        raise ConfigurationError(f"{file}: [s3] an external endpoint needs {', '.join(missing)}, too")
    if "/" in s3.endpoint:
        raise ConfigurationError(
            f"{file}: [s3] endpoint is host:port without a scheme; https is secure = true"
        )
    if config.kafka.options and not config.kafka.bootstrap:
        raise ConfigurationError(f"{file}: [kafka] options are for an external broker: bootstrap is missing")
    if config.postgres.dsn and not _is_postgres_uri(config.postgres.dsn):
        raise ConfigurationError(
            f"{file}: [postgres] dsn must be a URI: postgresql://user:password@host/name; in a password, "
            "% is written %25, @ %40, / %2F, ? %3F"
        )
    for section, external in (("gss", config.gss), ("inference", config.inference)):
        _validate_rpc(external, f"{file}: [{section}]")
    _validate_services(config, f"{file}: [services]")
    inference = config.inference
    for key in ("workers", "max_batch"):
        if getattr(inference, key) < 1:
            raise ConfigurationError(f"{file}: [inference] {key} must be at least 1")
    if config.services.stream_workers > inference.workers:
        raise ConfigurationError(
            f"{file}: [services] stream_workers share the [inference] workers, and there are fewer"
        )
    if inference.max_batch_wait_seconds < 0:
        raise ConfigurationError(f"{file}: [inference] max_batch_wait_seconds must not be negative")


def _validate_services(config: HarnessConfig, where: str) -> None:
    services, least = config.services, ServicesConfig()
    for counted in fields(services):
        if getattr(services, counted.name) < getattr(least, counted.name):
            raise ConfigurationError(f"{where} {counted.name} must be at least {counted.default}")
    external = {
        "kafka_brokers": config.kafka.bootstrap,
        "spark_workers": config.spark.master,
        "inference_services": config.inference.endpoint,
    }
    for name, address in external.items():
        if address and getattr(services, name) != getattr(least, name):
            raise ConfigurationError(f"{where} {name} is of what the harness starts, but {address} is named")


def _validate_rpc(external: GssConfig | InferenceConfig, where: str) -> None:
    if bool(external.endpoint) != bool(external.token):
        raise ConfigurationError(f"{where} an external server needs both, endpoint and token")
    for address in external.endpoint.split(",") if external.endpoint else ():
        host, _, port = address.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise ConfigurationError(f"{where} endpoint must be host:port, not {address!r}")
    if isinstance(external, GssConfig) and "," in external.endpoint:
        raise ConfigurationError(f"{where} there is one GSS: it owns the store")


def _is_postgres_uri(dsn: str) -> bool:
    # What libpq says about a bad URI quotes it, password and all: it must go nowhere, not even as a cause.
    # An @ elsewhere than before the host means that a part of the password would be taken for the host.
    before, _, after = dsn.partition("://")[2].partition("@")
    if not dsn.startswith(_POSTGRES_SCHEMES) or "@" in after or (after and set(before) & set("/?")):
        return False
    try:
        conninfo_to_dict(dsn)
    except (ProgrammingError, UnicodeDecodeError):
        return False
    return True


def _without_password(dsn: str) -> str:
    """``host/database`` of a libpq URI: its user part and its parameters may hold secrets."""
    scheme, separator, rest = dsn.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}" if dsn else ""
