"""A/A: how often do the harness's own comparisons see a difference where there is none?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats

from bench.audit.evidence import PLANTED, REFERENCE, Evidence, Finding
from bench.compare.comparison import DETECT, MetricComparison, Verdict, judge_times
from bench.compare.statistics import ALPHA
from bench.metrics.definition import Definition, Direction, Noise
from bench.metrics.measure import Measurement, measure
from bench.metrics.registry import DEFINITIONS
from bench.selftest.queueing import departures

REPLICATES = 5  # a side, of the real pair; with 4 there are 35 splits, of which one is more than TOO_MANY
TOO_MANY = 0.01  # so unlikely is the number of alarms that is called too many, if the sides are alike
VIRTUAL_PAIRS, VIRTUAL_REPLICATES = 400, 6
# A virtual replicate: a server at 70 %, on a machine whose speed differs by 5 % from one to the next.
ARRIVALS, RATE, SERVICE, SPEED_SPREAD = 400, 70.0, 0.01, 0.05


class RealPair:
    """Every timed metric of two identical arms that ran in turn.

    The metrics of a pair move together, so their number alone can't say how many alarms are too many. The
    pair itself says it: its replicates are split between two sides in every other way. If the arms are alike,
    each split is as likely as any other to raise the most alarms, however the metrics depend on each other.
    That the arms ran in turn only adds to that: a drift of the machine makes other splits differ more.
    """

    name = "compare: more alarms than nominal between identical arms"

    def __call__(self, evidence: Evidence) -> Finding:
        """Found if there are too many differences."""
        by_arm: dict[str, dict[str, Measurement]] = {REFERENCE: {}, PLANTED: {}}
        for found in measure(evidence.result):
            definition = found.definition
            if found.arm and definition.noise is Noise.TIME and definition.direction is not Direction.CONTEXT:
                by_arm[found.arm][found.id.removeprefix(f"{found.arm}.")] = found
        pairs = [
            [_values(of_metric[metric]) for of_metric in by_arm.values()]
            for metric in by_arm[REFERENCE].keys() & by_arm[PLANTED].keys()
        ]
        return self.judge([pair for pair in pairs if [*map(len, pair)] == [REPLICATES, REPLICATES]])

    def judge(self, pairs: Sequence[Sequence[Sequence[float]]]) -> Finding:
        """As above, from both sides' values of each metric, by replicate."""
        if not pairs:
            return Finding(None, "nothing could be compared")
        alarms = _alarms_of_splits(np.array([[*base, *head] for base, head in pairs]))
        seen = int(alarms[0])
        share = float(np.mean(alarms >= seen))
        text = f"{_alarms_text(seen, len(pairs))}; as many in {share:.1%} of {len(alarms)} splits"
        return Finding(share < TOO_MANY, text)


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


def _alarms_of_splits(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int_]:
    """How many rows (metrics) tell two halves of the columns (replicates) apart, for every way to halve them,
    the first half against the second being the first: by the exact rank test of a comparison."""
    columns = values.shape[1]
    splits = [[0, *others] for others in combinations(range(1, columns), columns // 2 - 1)]
    ranks = stats.rankdata(values, axis=1)
    off = np.abs(ranks[:, splits].sum(axis=2) - ranks.sum(axis=1, keepdims=True) / 2)
    p_values = np.mean(off[:, np.newaxis, :] >= off[:, :, np.newaxis], axis=2)
    return np.asarray((p_values < ALPHA).sum(axis=0))


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
    """Of comparisons that don't depend on each other."""
    decided = [verdict for verdict in verdicts if verdict is not Verdict.NOT_MEASURED]
    alarms = sum(verdict in (Verdict.BETTER, Verdict.WORSE, Verdict.DIFFERS) for verdict in decided)
    chance = float(stats.binom.sf(alarms - 1, len(decided), ALPHA))
    return Finding(chance < TOO_MANY, _alarms_text(alarms, len(decided)))


def _alarms_text(alarms: int, comparisons: int) -> str:
    return f"{alarms} of {comparisons} comparisons ({alarms / comparisons:.1%}), nominal {ALPHA:.0%}"
