"""One probe: a run of one arm without its nights, on servers that stay up, and the lag that it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from bench.config import HarnessConfig
from bench.display import Display
from bench.ledger_query import open_ledger
from bench.run import Run, RunSettings
from bench.seal import events_path
from bench.sustain.lag import LagSlope, lag_slope
from bench.sustain.search import Probe
from bench.validity import GENERATOR_LATE_SECONDS
from signals.errors import PipelineError

MIN_WINDOW_SECONDS = 3.0
DRAIN_WINDOWS = 3.0  # times the window: a drain that takes longer is one of a rate far too high
MIN_DRAIN_SECONDS = 30.0
# Dead letters have no latency; the poison of a workload is not a failure to keep up.
_LATENCIES = """
SELECT a.scheduled_ns, (available_ns - a.scheduled_ns) / 1e9 AS seconds,
    (a.submitted_ns - a.scheduled_ns) / 1e9 AS late_seconds
FROM arrivals a LEFT JOIN online_ends USING (arm, replicate, event_id)
WHERE (a.arm, a.replicate, a.event_id) NOT IN (SELECT (arm, replicate, event_id) FROM dead_letters)
ORDER BY a.scheduled_ns
"""


@dataclass(frozen=True, slots=True)
class ArmProbe:
    """Probes ``arm``; every probe gets a fresh replicate: new topics, queues, stores, processes."""

    arm: str
    workload: str
    images: str
    folder: Path
    config: HarnessConfig
    progress: Callable[[str], None]

    def __call__(self, rate: float, window_seconds: float) -> Probe:
        """Offer ``rate`` for a window, let the arm drain, and look.

        An arm that fails or does not drain did not sustain the rate; any other error of the tree is raised.
        """
        settings = RunSettings(
            images=self.images,
            workload=self.workload,
            day_seconds=window_seconds,
            rate_per_second=rate,
            arms=(self.arm,),
            output=self.folder,
            drain_timeout_seconds=max(MIN_DRAIN_SECONDS, DRAIN_WINDOWS * window_seconds),
            nights=False,
        )
        run = Run(settings, self.config, Display(Console(quiet=True)))
        failure = ""
        try:
            run.execute()
        except PipelineError as error:
            failure = str(error)
        probe = _judge(run.run_dir, rate, window_seconds, failure)
        self.progress(_line(probe))
        return probe


def _judge(run_dir: Path, rate: float, window_seconds: float, failure: str) -> Probe:
    if failure or not events_path(run_dir).is_file():
        return Probe(
            rate, window_seconds, LagSlope(None, None, None, failure or "no ledger"), None, run_dir.name
        )
    with open_ledger(run_dir) as query:
        rows = query.execute(_LATENCIES)
    scheduled = np.array([row["scheduled_ns"] for row in rows], dtype=np.int64)
    latency = np.array([row["seconds"] for row in rows], dtype=np.float64)  # None becomes nan
    late = float(np.quantile([row["late_seconds"] for row in rows], 0.99)) if rows else 0.0
    if late > GENERATOR_LATE_SECONDS:
        reason = f"the generator was late (p99 {late:.2f} s): the rate was not offered"
        return Probe(rate, window_seconds, LagSlope(None, None, None, reason), None, run_dir.name)
    slope = lag_slope((scheduled - scheduled[:1]) / 1e9, latency, window_seconds)
    median = float(np.median(latency)) if slope.value is not None else None
    return Probe(rate, window_seconds, slope, median, run_dir.name)


def _line(probe: Probe) -> str:
    slope = probe.slope
    text = slope.reason or f"lag slope {slope.value:+.4f} [{slope.low:+.4f}, {slope.high:+.4f}] s/s"
    return f"{probe.rate_per_second:.1f}/s for {probe.window_seconds:.0f} s: {probe.verdict} ({text})"
