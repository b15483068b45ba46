"""What both consumer processes need around them: their context, and a clean stop."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from signals.architecture import RunContext


class StopSignal(threading.Event):
    """Set when the process is asked to stop (SIGTERM, SIGINT)."""

    def __init__(self) -> None:
        super().__init__()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.set())


def consumer_context(description: str | None) -> RunContext:
    """The context named on the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--context", type=Path, required=True, help="JSON file of the run context")
    return RunContext.load(parser.parse_args().context)
