"""The life of single images, stage by stage, as bars on a line of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

ONLINE, BATCH = "until the online consumer has it", "until the batch consumer has it"
NIGHTLY_PATHS = frozenset(("nightly", "dump"))


@dataclass(frozen=True, slots=True)
class Span:
    """One stage; seconds after the scheduled arrival."""

    label: str
    start_seconds: float
    end_seconds: float
    note: str


@dataclass(frozen=True, slots=True)
class Part:
    """Stages that share one scale, from 0 to ``end_seconds``."""

    label: str
    spans: tuple[Span, ...]

    @property
    def end_seconds(self) -> float:
        """Where the last stage ends."""
        return max(span.end_seconds for span in self.spans)


@dataclass(frozen=True, slots=True)
class Life:
    """One image in one arm. ``which`` says why it was chosen: median or slowest."""

    arm: str
    which: str
    replicate: int
    galaxy: str
    image_signature: str
    file_name: str | None
    online_seconds: float
    parts: tuple[Part, ...]


def lives(rows: Iterable[Mapping[str, Any]]) -> list[Life]:
    """The images of ``bench/sql/lives.sql``, in its order."""
    found = []
    for (arm, which), of_image in groupby(rows, key=lambda row: (row["arm"], row["which"])):
        stages = list(of_image)
        first = stages[0]
        parts = (
            Part(ONLINE, tuple(_span(row) for row in stages if not _is_for_batch(row))),
            Part(BATCH, tuple(_span(row) for row in stages if _is_for_batch(row))),
        )
        found.append(
            Life(
                arm=arm,
                which=which,
                replicate=first["replicate"],
                galaxy=first["galaxy"],
                image_signature=first["image_signature"],
                file_name=first["file_name"],
                online_seconds=first["online_seconds"],
                parts=tuple(part for part in parts if part.spans),
            )
        )
    return found


def _is_for_batch(row: Mapping[str, Any]) -> bool:
    return row["path"] in NIGHTLY_PATHS or row["stage"] == "available_batch"


def _span(row: Mapping[str, Any]) -> Span:
    notes = []
    if row["attempt"] > 1:
        notes.append(f"attempt {row['attempt']}")
    if row["batch_size"]:
        notes.append(f"batch of {row['batch_size']}")
    if row["outcome"] != "ok":
        notes.append(row["outcome"])
    label = row["stage"].replace("_", " ")
    return Span(
        label=f"{label} (at night)" if row["path"] in NIGHTLY_PATHS else label,
        start_seconds=row["start_seconds"],
        end_seconds=row["end_seconds"],
        note=", ".join(notes),
    )
