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
    INTERRUPTED = 130


def describe() -> str:
    """The codes as lines of help text."""
    return "\n".join(f"{code.value:>4}  {code.name.lower().replace('_', ' ')}" for code in ExitCode)
