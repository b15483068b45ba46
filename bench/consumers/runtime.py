"""What both consumer processes take from their command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from signals.architecture import RunContext


def consumer_context(description: str | None) -> RunContext:
    """The context named on the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--context", type=Path, required=True, help="JSON file of the run context")
    return RunContext.load(parser.parse_args().context)
