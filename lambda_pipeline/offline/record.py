"""The record that a night leaves: its steps with start, end, inputs, outputs and outcome, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from lambda_pipeline.offline.graph import StepRecord
from signals.whole_file import replace_file


def record_file(arm_dir: Path, day: int) -> Path:
    """Where the steps of the night of ``day`` are recorded."""
    return arm_dir / "nightly" / f"day={day}" / "workflow.json"


def write_record(arm_dir: Path, day: int, records: Sequence[StepRecord]) -> None:
    """Replace the record by one that is up to date."""
    path = record_file(arm_dir, day)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, orjson.dumps(list(records), option=orjson.OPT_INDENT_2))


def last_step(arm_dir: Path, day: int) -> tuple[str, str]:
    """Name of the step that the night is in, or ended in, and what it says of its end; both "" before the
    first."""
    try:
        steps: list[dict[str, Any]] = orjson.loads(record_file(arm_dir, day).read_bytes())
    except (OSError, ValueError):
        steps = []
    return (str(steps[-1]["name"]), str(steps[-1]["detail"])) if steps else ("", "")
