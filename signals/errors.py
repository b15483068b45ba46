"""The error tree.

LkbenchError
├── ConfigurationError     the user's input can't work as given (exit code 2)
├── MissingRequirement     the machine lacks something: Java, memory, a file (exit code 3)
├── ServiceError           a server did not start, died, or answers wrongly (exit code 4)
├── PipelineError          an arm failed to do its work (exit code 5)
│   └── RecordError        bytes that should hold a signal record do not
├── InvalidRun             a run that can't be relied on was to be compared or become a baseline (exit code 6)
├── UnlikeRuns             two runs differ in more than the code under test (exit code 11)
└── ImageError             one image can't become a signal; it is dead-lettered, never fatal
"""

from __future__ import annotations


class LkbenchError(Exception):
    """Base of every error this project raises on purpose. ``str()`` says what to do."""

    exit_code = 1


class ConfigurationError(LkbenchError):
    """The configuration, a folder or an option given by the user can't work as given."""

    exit_code = 2


class MissingRequirement(LkbenchError):
    """The machine lacks something that a run needs."""

    exit_code = 3


class ServiceError(LkbenchError):
    """A server could not be started, died, or can't be reached. Names the service and its log."""

    exit_code = 4


class PipelineError(LkbenchError):
    """An arm failed: a nightly step, a worker that keeps dying, a drain that does not end."""

    exit_code = 5


class RecordError(PipelineError):
    """Fields or bytes are not a signal record: damaged, truncated, or made by something else."""


class InvalidRun(LkbenchError):
    """An INVALID run was given where only a valid one counts. Names the rules that it broke."""

    exit_code = 6


class UnlikeRuns(LkbenchError):
    """Runs that differ in workload, seed, machine, model or profile can't be compared. Says what differs."""

    exit_code = 11


class ImageError(LkbenchError):
    """One image can't become a signal.

    ``reason`` is a short stable code (``truncated``, ``too_many_pixels``, …) that is the same in both
    arms for the same bytes; the message adds detail for people.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
