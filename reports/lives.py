"""The life of single images, stage by stage, as bars on a line of time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reports.located import Located

ONLINE, BATCH = "until the online consumer has it", "until the batch consumer has it"
LEAST_SHARE = 1 / 150  # of a bar's width
NIGHTLY_PATHS = frozenset(("nightly", "dump"))
FOR_BATCH = frozenset(("day", "available_batch"))
LABELS = {"arrival": "handed over", "day": "wait for midnight"}  # else the stage's own name


@dataclass(frozen=True, slots=True)
class Span:
    """One stage; it starts so many seconds after the scheduled arrival. A moment has no duration."""

    label: str
    start_seconds: Located
    duration_seconds: Located
    note: str


@dataclass(frozen=True, slots=True)
class Part:
    """Stages that share one scale, from 0 to ``end_seconds``."""

    label: str
    spans: tuple[Span, ...]

    @property
    def end_seconds(self) -> float:
        """Where the last stage ends."""
        return max(float(span.start_seconds.value + span.duration_seconds.value) for span in self.spans)

    def bar(self, span: Span) -> tuple[float, float]:
        """Start and length of a stage's bar in seconds; a moment gets a length that is seen."""
        length = float(span.duration_seconds.value) or self.end_seconds * LEAST_SHARE
        return min(float(span.start_seconds.value), self.end_seconds - length), length


@dataclass(frozen=True, slots=True)
class Life:
    """One image in one arm. ``which`` says why it was chosen: median or slowest."""

    image: Located
    parts: tuple[Part, ...]

    @property
    def arm(self) -> str:
        """Its name."""
        return str(self.image["arm"])


def lives(images: Iterable[Located]) -> list[Life]:
    """The images of the section ``lives`` of a result, in its order."""
    found = []
    for image in images:
        stages = list(image["stages"])
        parts = (
            Part(ONLINE, tuple(_span(stage) for stage in stages if not _is_for_batch(stage))),
            Part(BATCH, tuple(_span(stage) for stage in stages if _is_for_batch(stage))),
        )
        found.append(Life(image, tuple(part for part in parts if part.spans)))
    return found


def _is_for_batch(stage: Located) -> bool:
    return stage["path"].value in NIGHTLY_PATHS or stage["stage"].value in FOR_BATCH


def _span(stage: Located) -> Span:
    row = stage.value
    is_step = row["stage"] == "step"
    notes = ["nightly step"] if is_step else []
    if row["attempt"] > 1:
        notes.append(f"attempt {row['attempt']}")
    if row["batch_size"]:
        notes.append(f"batch of {row['batch_size']}")
    if row["outcome"] != "ok":
        notes.append(row["outcome"])
    label = row["step"] if is_step else LABELS.get(row["stage"], row["stage"].replace("_", " "))
    return Span(
        label=f"{label} (at night)" if row["path"] in NIGHTLY_PATHS and not is_step else label,
        start_seconds=stage["start_seconds"],
        duration_seconds=stage["duration_seconds"],
        note=", ".join(notes),
    )
