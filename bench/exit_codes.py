"""Exit codes of ``lkbench``; errors of the tree carry theirs (see ``signals.errors``)."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit status of the command line means."""

    OK = 0
    TOOL_ERROR = 1
    BAD_CONFIGURATION = 2
    MISSING_REQUIREMENT = 3
    SERVICE_ERROR = 4
    PIPELINE_ERROR = 5
    INVALID_RUN = 6
    VERIFICATION_FAILED = 7
    THRESHOLD_BREACHED = 8
    REGRESSION = 9
    NOT_DECIDABLE = 10
    UNLIKE_RUNS = 11
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done; of a gate: every threshold holds",
    ExitCode.TOOL_ERROR: "an error of lkbench itself or of the operating system",
    ExitCode.BAD_CONFIGURATION: "an option, a file, a threshold or a run was not understood",
    ExitCode.MISSING_REQUIREMENT: "this machine lacks something; lkbench doctor says what",
    ExitCode.SERVICE_ERROR: "a server did not start, died or answers wrongly",
    ExitCode.PIPELINE_ERROR: "an arm failed to do its work",
    ExitCode.INVALID_RUN: "a run is INVALID: its figures don't count",
    ExitCode.VERIFICATION_FAILED: "verify, audit, calibrate, simulate or sustain found what does not hold",
    ExitCode.THRESHOLD_BREACHED: "a threshold is broken, or what it asks for was not measured",
    ExitCode.REGRESSION: "a metric is worse than the base by more than its threshold allows",
    ExitCode.NOT_DECIDABLE: "too few replicates to tell whether a metric is worse than the base",
    ExitCode.UNLIKE_RUNS: "the runs differ in more than the code under test",
    ExitCode.INTERRUPTED: "interrupted",
}


def describe() -> str:
    """The codes as lines of help text."""
    return "\n".join(f"{code.value:>4}  {MEANINGS[code]}" for code in ExitCode)
