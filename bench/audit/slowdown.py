"""Finds which stage became slower, and by how much, from pairs of one schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench.audit.evidence import Evidence, Finding, stage_differences

CONFIDENCE = 0.99
OTHERS_SHARE = 0.3  # of the planted size; a stage that shifts by more shares the blame


@dataclass(frozen=True, slots=True)
class Shift:
    """Mean of paired differences with its interval, seconds."""

    mean: float
    low: float
    high: float
    pairs: int

    @classmethod
    def of(cls, differences: Sequence[float]) -> Shift:
        """Student's interval for the mean of ``differences`` (seconds); without limits below 2 pairs."""
        values = np.asarray(differences)
        mean, n = float(values.mean()), len(values)
        if n < 2:
            return cls(mean, -np.inf, np.inf, n)
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * stats.sem(values))
        return cls(mean, mean - half, mean + half, n)

    def __str__(self) -> str:
        return f"{self.mean * 1e3:+.1f} ms [{self.low * 1e3:+.1f}, {self.high * 1e3:+.1f}]"


@dataclass(frozen=True, slots=True)
class SlowerBy:
    """``stage`` became slower by ``seconds`` in the mean, and no other did."""

    stage: str
    seconds: float

    @property
    def name(self) -> str:
        """The comparison."""
        return f"stage {self.stage} slower by {self.seconds * 1e3:.0f} ms"

    def __call__(self, evidence: Evidence) -> Finding:
        """Found if it is found, attributed to the stage, and sized within its interval."""
        return self.judge({name: Shift.of(d) for name, d in stage_differences(evidence.run_dir).items()})

    def judge(self, shifts: Mapping[str, Shift]) -> Finding:
        """As above, from the shift of every stage."""
        if self.stage not in shifts:
            return Finding(None, f"neither arm has a stage {self.stage}")
        own = shifts[self.stage]
        others = {name: shift for name, shift in shifts.items() if name != self.stage}
        blamed = [f"{n} {s}" for n, s in others.items() if s.mean > OTHERS_SHARE * self.seconds and s.low > 0]
        found = own.low > 0 and own.low <= self.seconds <= own.high and not blamed
        text = f"{self.stage} {own} at {CONFIDENCE:.0%}, {own.pairs} pairs"
        return Finding(found, "; ".join([text, *(f"also {other}" for other in blamed)]))
