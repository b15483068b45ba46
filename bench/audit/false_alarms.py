"""A/A: how often do the harness's own comparisons see a difference where there is none?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from bench.audit.evidence import PLANTED, REFERENCE, Evidence, Finding
from bench.compare.comparison import DETECT, MetricComparison, Verdict, judge_times
from bench.compare.statistics import ALPHA
from bench.metrics.definition import Definition, Direction, Noise
from bench.metrics.measure import Measurement, measure
from bench.metrics.registry import DEFINITIONS
from bench.selftest.queueing import departures

REPLICATES = 4  # a side, of the real pair; the fewest with which a comparison is decidable
TOO_MANY = 0.01  # so unlikely is the number of alarms that is called too many, if alarms are at ALPHA
VIRTUAL_PAIRS, VIRTUAL_REPLICATES = 400, 6
# A virtual replicate: a server at 70 %, on a machine whose speed differs by 5 % from one to the next.
ARRIVALS, RATE, SERVICE, SPEED_SPREAD = 400, 70.0, 0.01, 0.05


class RealPair:
    """Every timed metric of two identical arms that ran in turn."""

    name = "compare: more alarms than nominal between identical arms"

    def __call__(self, evidence: Evidence) -> Finding:
        """Found if there are too many differences."""
        by_arm: dict[str, dict[str, Measurement]] = {REFERENCE: {}, PLANTED: {}}
        for found in measure(evidence.result):
            definition = found.definition
            if found.arm and definition.noise is Noise.TIME and definition.direction is not Direction.CONTEXT:
                by_arm[found.arm][found.id.removeprefix(f"{found.arm}.")] = found
        judged = []
        for metric, base in by_arm[REFERENCE].items():
            if (head := by_arm[PLANTED].get(metric)) is not None:
                values = [_values(side) for side in (base, head)]
                if min(map(len, values)) >= REPLICATES:
                    judged.append(_compare(base.definition, *values))
        return _too_many(judged)


class VirtualPairs:
    """Comparisons of many pairs of sides from one and the same simulated server."""

    name = "compare: more alarms than nominal in virtual time"

    def __init__(self, pairs: int = VIRTUAL_PAIRS, slower: float = 1.0) -> None:
        """``slower``: factor on the service time of the second side; 1 is A/A."""
        self._pairs, self._slower = pairs, slower

    def __call__(self, evidence: Evidence | None = None) -> Finding:  # noqa: ARG002 (needs no run)
        """Found if there are too many differences."""
        random = np.random.default_rng(2018)
        definition = next(d for d in DEFINITIONS if d.noise is Noise.TIME and d.unit.value == "s")
        return _too_many(
            [
                _compare(definition, *(_side(random, factor) for factor in (1.0, self._slower)))
                for _ in range(self._pairs)
            ]
        )


def _side(random: np.random.Generator, slower: float) -> list[float]:
    """The 95th percentile of the latency in each replicate of one side, seconds."""
    percentiles = []
    for _ in range(VIRTUAL_REPLICATES):
        arrivals = np.sort(random.random(ARRIVALS)) * (ARRIVALS / RATE)
        service = SERVICE * slower * float(np.exp(random.normal(0.0, SPEED_SPREAD)))
        percentiles.append(float(np.quantile(departures(arrivals, service) - arrivals, 0.95)))
    return percentiles


def _values(side: Measurement) -> list[float]:
    return [reading.value for reading in side.replicates.values() if reading.value is not None]


def _compare(definition: Definition, base: Sequence[float], head: Sequence[float]) -> Verdict:
    blank = MetricComparison(
        id=definition.pattern,
        label=definition.label,
        definition=definition,
        base=None,
        head=None,
        base_replicates=len(base),
        head_replicates=len(head),
        verdict=Verdict.NOT_MEASURED,
    )
    return judge_times(blank, base, head, None, is_paired=True, detect=DETECT).verdict


def _too_many(verdicts: Sequence[Verdict]) -> Finding:
    decided = [verdict for verdict in verdicts if verdict is not Verdict.NOT_MEASURED]
    alarms = sum(verdict in (Verdict.BETTER, Verdict.WORSE, Verdict.DIFFERS) for verdict in decided)
    if not decided:
        return Finding(True, "nothing could be compared")
    chance = float(stats.binom.sf(alarms - 1, len(decided), ALPHA))
    text = f"{alarms} of {len(decided)} comparisons ({alarms / len(decided):.1%}), nominal {ALPHA:.0%}"
    return Finding(chance < TOO_MANY, text)
