"""The result of a run folder, complete for what is drawn of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.charts import drawn_sections
from bench.ledger_query import open_ledger
from bench.run_folder import read_json
from bench.statistics.availability import curves_of
from signals.errors import ConfigurationError


def read_result(run_dir: Path) -> dict[str, Any]:
    """The content of ``result.json``. Raises ConfigurationError if the run has none, or a damaged one."""
    path = run_dir / "result.json"
    if not path.is_file():
        raise ConfigurationError(f"{run_dir} has no result.json: only a run that ended can be reported")
    result = read_json(path)
    if "charts" not in result:  # written before results had them
        with open_ledger(run_dir) as ledger:
            result |= drawn_sections(ledger.rows, curves_of(ledger))
    return result
