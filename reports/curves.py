"""The availability curves of a run, and how arms and consumers are told apart in every drawing.

An arm has a colour (Okabe and Ito's, safe for colour-blind readers) and a consumer has a line style, so
that no curve is told by its colour alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7")
DASHES = {"online": "", "batch": "7 4"}
SHORTEST_SECONDS = 1e-4  # a logarithmic axis has no zero


@dataclass(frozen=True, slots=True)
class Curve:
    """Fraction of keys available ``seconds`` after their scheduled first arrival; both ascending."""

    arm: str
    consumer: str
    colour: int  # position in COLOURS
    seconds: tuple[float, ...]
    fractions: tuple[float, ...]
    band: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # 95 %, pointwise
    band_reason: str = ""  # why there is none

    def points(self, end_seconds: float) -> Iterator[tuple[float, float]]:
        """The steps to draw: from 0 at the first moment, and on to the edge where images stay away."""
        yield self.seconds[0], 0.0
        yield from zip(self.seconds, self.fractions, strict=True)
        if self.fractions[-1] < 1.0:
            yield end_seconds, self.fractions[-1]

    @property
    def label(self) -> str:
        """What is written at the curve."""
        return f"{self.arm}, {self.consumer}"

    def seconds_at(self, fraction: float) -> float:
        """The first moment at which ``fraction`` is reached; the last of the curve if it never is."""
        reached = (s for s, f in zip(self.seconds, self.fractions, strict=True) if f >= fraction)
        return next(reached, self.seconds[-1])


@dataclass(frozen=True, slots=True)
class Label:
    """Where a curve's label goes: beside the curve at ``fraction``, on its left or right."""

    curve: Curve
    fraction: float
    is_left: bool


def availability_curves(charts: Mapping[str, Any], arms: Sequence[str]) -> list[Curve]:
    """One curve per arm and consumer that has any available key, from the section ``charts`` of a result;
    ``arms`` gives each its colour."""
    return [
        Curve(
            arm=series["arm"],
            consumer=series["consumer"],
            colour=arms.index(series["arm"]) % len(COLOURS),
            seconds=tuple(max(seconds, SHORTEST_SECONDS) for seconds in series["seconds"]),
            fractions=tuple(series["share"]),
            band=None if series["low"] is None else (tuple(series["low"]), tuple(series["high"])),
            band_reason=series["reasons"].get("low", ""),
        )
        for series in charts["availability"]["series"]
    ]


def place_labels(curves: Sequence[Curve]) -> list[Label]:
    """Labels at heights of their own: per consumer the fastest curve has its label on the left."""
    labels = []
    for consumer, base in (("online", 0.66), ("batch", 0.34)):
        of_consumer = sorted((c for c in curves if c.consumer == consumer), key=lambda c: c.seconds_at(0.5))
        for place, curve in enumerate(of_consumer):
            fraction = min(base - 0.07 * place, curve.fractions[-1])
            labels.append(Label(curve, fraction, is_left=place == 0 and len(of_consumer) > 1))
    return labels


def tick_text(exponent: int) -> str:
    """``-2`` -> ``10 ms``, ``0`` -> ``1 s``, ``4`` -> ``10,000 s``."""
    return f"{10 ** (exponent + 3)} ms" if -3 <= exponent < 0 else f"{10**exponent:,} s"
