"""Prepares everything that a run needs and that can be kept: a second run finds it in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config import HarnessConfig
from bench.images import load_dataset
from bench.services.jars import fetch_jars
from bench.services.java import find_java
from bench.services.spark_rehearsal import rehearse_spark
from bench.services.stack import jar_sets
from signals.efficientnet import build_model
from signals.errors import ConfigurationError, MissingRequirement
from signals.model import Model

DEFAULT_DATASET = "crops"
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was prepared."""

    model_dir: Path


def prepare(config: HarnessConfig, progress: Progress, datasets: Sequence[str] = ()) -> Prepared:
    """Fetch the servers, build the model, make the metastore's schema and ``datasets``; as far as missing.

    Raises MissingRequirement (no Java, no network), ServiceError or ConfigurationError (the user's model).
    """
    find_java()  # Spark needs it even where all servers are external
    with ThreadPoolExecutor(3, thread_name_prefix="setup") as pool:
        servers = pool.submit(prepare_servers, config, progress)
        model = pool.submit(prepare_model, config, progress)
        images = [pool.submit(load_dataset, name, progress) for name in datasets]
        futures: list[Future[Any]] = [servers, model, *images]
        for future in as_completed(futures):
            future.result()
    return Prepared(model_dir=model.result())


def prepare_servers(config: HarnessConfig, progress: Progress) -> None:
    """Fetch the Java servers, and rehearse a Spark session: the metastore's schema, an archive of classes."""
    fetch_jars(jar_sets(config), progress)
    rehearse_spark(progress)


def prepare_model(config: HarnessConfig, progress: Progress) -> Path:
    """Folder of the configured model, checked, or of the built-in one, built unless it is cached."""
    if not config.model.path:
        progress("preparing the model")
        return build_model()
    check_model(config)
    return Path(config.model.path)


def check_model(config: HarnessConfig) -> None:
    """Raise ConfigurationError for a configured model that is absent, or is none."""
    if not config.model.path:
        return
    try:
        Model.load(Path(config.model.path))
    except MissingRequirement as error:  # no part of the machine: what the user wrote is wrong
        raise ConfigurationError(f"[model] path: {error}") from error
