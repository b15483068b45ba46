"""Prepares both checkouts, then runs one replicate at a time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.ci.plan import BASE, HEAD, PREPARE, RUN, command_words, order_of_runs, run_arguments
from bench.compare.sides import Side, find_side
from bench.durations import duration_text
from bench.exit_codes import ExitCode
from bench.gate.evaluate import GateReport, run_gate
from signals.errors import (
    ConfigurationError,
    LkbenchError,
    MissingRequirement,
    PipelineError,
    ServiceError,
)
from signals.process import ProcessGroup, log_tail

STOP_SECONDS = 60.0  # a run that is interrupted stops its servers and seals its folder
_ERRORS: dict[int, type[LkbenchError]] = {
    error.exit_code: error for error in (ConfigurationError, MissingRequirement, ServiceError, PipelineError)
}


@dataclass(frozen=True, slots=True)
class Job:
    """What is done in each checkout, and where runs (``folder``/SIDE) and logs (``folder``/logs) go."""

    folder: Path
    replicates: int
    options: tuple[str, ...] = ()  # of `lkbench run`
    prepare: str = PREPARE
    command: str = RUN


def measure_and_gate(
    job: Job,
    checkouts: Mapping[str, Path],
    labels: Mapping[str, str],
    thresholds: Sequence[str],
    detect: float,
    say: Callable[[str], None],
) -> GateReport:
    """Prepare both checkouts, run all replicates in turn, and check the head against its thresholds.

    An INVALID run ends it: the report then says why. Raises the error that belongs to the exit code of a
    command that failed, UnlikeRuns, and ConfigurationError for a threshold that is not understood. Stops
    what is running when interrupted.
    """

    def gate() -> GateReport:
        base, head = (_side(job, side, labels[side]) for side in (BASE, HEAD))
        return run_gate(thresholds, head, base, is_paired=True, detect=detect)

    _prepare(job, checkouts, say)
    order = order_of_runs(job.replicates)
    for number, side in enumerate(order, 1):
        started = time.monotonic()
        arguments = run_arguments(job.command, job.options, job.folder / side)
        _run_to_end(f"{number:02}-{side}", arguments, checkouts[side], job.folder / "logs")
        for run in _side(job, side, side).runs:
            if not run.is_valid:
                return GateReport(labels[HEAD], (), invalid=run)
        say(f"run {number} of {len(order)}: {side}, {duration_text(time.monotonic() - started)}")
        if number == 2:
            gate()  # what it refuses, it refuses now and not after all runs
    return gate()


def _prepare(job: Job, checkouts: Mapping[str, Path], say: Callable[[str], None]) -> None:
    arguments = command_words(job.prepare)
    if not arguments:
        return
    if shutil.which(arguments[0]) is None:
        raise MissingRequirement(f"{arguments[0]} is not on the PATH: python3 -m pip install nox")
    for side, checkout in checkouts.items():
        say(f"preparing {side}")
        _run_to_end(f"{side}-prepare", arguments, checkout, job.folder / "logs")


def _side(job: Job, side: str, label: str) -> Side:
    return Side(label, find_side(str(job.folder / side), job.folder).runs)


def _run_to_end(name: str, arguments: Sequence[str], checkout: Path, logs: Path) -> None:
    with ProcessGroup(logs) as group:
        child = group.start(name, arguments, cwd=checkout)
        try:
            code = child.popen.wait()
        except BaseException:
            group.stop_child(child, STOP_SECONDS)
            raise
    if code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt
    if code not in (ExitCode.OK, ExitCode.INVALID_RUN):  # an INVALID run has a result, which says why
        raise _ERRORS.get(code, LkbenchError)(
            f"{name} ended with code {code}; its log is {child.log}{log_tail(child.log)}"
        )
