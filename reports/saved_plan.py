"""A plan that was saved beside a run (``lkbench plan --json > RUN/plan.json``), for the page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from signals.errors import ConfigurationError

PLAN_FILE, MAP_FILE = "plan.json", "decision_map.png"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
LARGEST_MAP_BYTES = 3 * 1024**2  # the page has to stay below 5 MB


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """The content of ``plan.json`` and the decision map as a data URI, "" without one."""

    content: Mapping[str, Any]
    map_uri: str

    @property
    def freshness_seconds(self) -> float:
        """The objective that it was made for."""
        return float(self.content["inputs"]["freshness_p95_seconds"])


def saved_plan(run_dir: Path) -> SavedPlan | None:
    """The plan of a run folder, None without one. Raises ConfigurationError if it can't be read."""
    path, picture = run_dir / PLAN_FILE, run_dir / MAP_FILE
    if not path.is_file():
        return None
    try:
        plan = SavedPlan(orjson.loads(path.read_bytes()), _data_uri(picture) if picture.is_file() else "")
        _ = plan.freshness_seconds, plan.content["verdict"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} is no plan of lkbench plan --json: {error}; write it again"
        ) from error
    return plan


def _data_uri(path: Path) -> str:
    data = path.read_bytes()
    if not data.startswith(PNG_MAGIC) or len(data) > LARGEST_MAP_BYTES:
        raise ConfigurationError(
            f"{path} is no PNG of at most {LARGEST_MAP_BYTES // 1024**2} MiB; write it with "
            "lkbench plan --figure"
        )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
