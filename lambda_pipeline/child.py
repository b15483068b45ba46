"""What every process of this arm needs around its work: context, clean stop, exit code."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from signals.architecture import RunContext
from signals.errors import LkbenchError
from signals.process import StopSignal


def context_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that every process of the arm takes."""
    parser.add_argument("--context", type=Path, required=True, help="JSON file of the run context")


def run_process(description: str | None, body: Callable[[RunContext, int, StopSignal], None]) -> NoReturn:
    """Run ``body(context, index, stop)`` as this process, and exit: 0, or the error's exit code with one
    line on stderr (a traceback where the error was not foreseen)."""
    parser = argparse.ArgumentParser(description=description)
    context_argument(parser)
    parser.add_argument("--index", type=int, default=0, help="number of this process among its equals")
    arguments = parser.parse_args()
    stop = StopSignal()
    exit_with(lambda: body(RunContext.load(arguments.context), arguments.index, stop))


def exit_with(body: Callable[[], None]) -> NoReturn:
    """Run ``body`` and exit with the code that its outcome deserves."""
    try:
        body()
    except LkbenchError as error:
        log(str(error))
        sys.exit(error.exit_code)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    sys.exit(0)


def log(message: str) -> None:
    """One line on stderr, which is the process's log file."""
    stamp = time.strftime("%H:%M:%S", time.gmtime())
    print(f"{stamp} {message}", file=sys.stderr, flush=True)  # noqa: T201
