"""Counters that a consumer process shows to the driver: one small JSON file, replaced atomically."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import orjson

from signals.whole_file import replace_file


@dataclass
class _Progress:
    def write(self, path: Path) -> None:
        """Replace ``path``."""
        replace_file(path, orjson.dumps(self.__dict__))

    @classmethod
    def read(cls, path: Path) -> Self:
        """The last counters written to ``path``; all zero before the first."""
        with contextlib.suppress(FileNotFoundError):
            return cls(**orjson.loads(path.read_bytes()))
        return cls()


@dataclass
class OnlineProgress(_Progress):
    """What the online client has seen so far, in arrivals."""

    available: int = 0
    dead_letters: int = 0
    redelivered: int = 0  # a second event for the same arrival
    missing: int = 0  # announced, but GSS did not have all its signals

    def count(self, outcome: str) -> None:
        """One more arrival ended as ``ok`` or ``missing``."""
        if outcome == "ok":
            self.available += 1
        else:
            self.missing += 1

    @property
    def ended(self) -> int:
        """Arrivals that ended, one way or the other."""
        return self.available + self.dead_letters + self.missing


@dataclass
class BatchProgress(_Progress):
    """What the batch client has read so far."""

    keys: int = 0  # (galaxy, image signature) with every signal of the galaxy
    partitions: list[str] = field(default_factory=list)  # locations read


def online_progress_file(arm_dir: Path) -> Path:
    """Where the online client of an arm and replicate writes its counters."""
    return arm_dir / "online_client.json"


def batch_progress_file(arm_dir: Path) -> Path:
    """Where the batch client of an arm and replicate writes its counters."""
    return arm_dir / "batch_client.json"
