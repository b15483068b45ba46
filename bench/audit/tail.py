"""Does a stop show in the latencies as the schedule says it must?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.audit.evidence import PLANTED, Evidence, Finding
from bench.ledger_query import open_ledger
from bench.selftest.queueing import Seconds, stopped_latencies

TOLERANCE_SECONDS = 0.15  # of a busy machine with two cores; the stop is many times longer
QUANTILES = {"p90_seconds": 0.9, "p95_seconds": 0.95, "max_seconds": 1.0}
_ARRIVALS = (
    "SELECT (scheduled_ns - min(scheduled_ns) OVER ()) / 1e9 AS seconds FROM arrivals "
    "WHERE arm = $arm ORDER BY scheduled_ns"
)


@dataclass(frozen=True, slots=True)
class TailOfStop:
    """A server with ``service_seconds`` stands still, ``after_seconds`` after its first arrival."""

    service_seconds: float
    after_seconds: float
    stopped_seconds: float

    @property
    def name(self) -> str:
        """The comparison."""
        return f"tail of a stop of {self.stopped_seconds:.0f} s as by schedule"

    def predicted(self, arrivals: Seconds) -> dict[str, float]:
        """Upper quantiles of the latency, seconds; ``arrivals`` in seconds, evenly spaced."""
        begin = float(arrivals[0]) + self.after_seconds
        latencies = stopped_latencies(arrivals, self.service_seconds, (begin, begin + self.stopped_seconds))
        return {name: float(np.quantile(latencies, p)) for name, p in QUANTILES.items()}

    def __call__(self, evidence: Evidence) -> Finding:
        """Found if every quantile is where the closed form puts it."""
        measured = evidence.result["arms"][PLANTED]["latency"]["online"]
        with open_ledger(evidence.run_dir) as query:
            rows = query.execute(_ARRIVALS, {"arm": PLANTED})
        predicted = self.predicted(np.array([row["seconds"] for row in rows]))
        missing = [name for name in predicted if measured.get(name) is None]
        if missing:
            return Finding(None, f"not measured: {', '.join(missing)}")
        as_predicted = all(abs(measured[n] - p) <= TOLERANCE_SECONDS for n, p in predicted.items())
        text = ", ".join(
            f"{n.removesuffix('_seconds')} {measured[n]:.2f} s (predicted {p:.2f})"
            for n, p in predicted.items()
        )
        return Finding(as_predicted, text)
