"""What the harness itself costs: latency and throughput of the arm that does next to nothing."""

from __future__ import annotations

from bench.audit.evidence import PLANTED, Evidence, Finding
from bench.durations import duration_text

RATE_PER_SECOND, DAY_SECONDS = 200.0, 5.0
MEDIAN_LIMIT_SECONDS = 0.05  # well below any latency that the harness is meant to tell apart
SUSTAINED_SHARE = 0.95


class OwnCost:
    """From the scheduled time until the online client holds the signals, through every part that measures."""

    name = f"own cost: median > {MEDIAN_LIMIT_SECONDS * 1e3:.0f} ms or {RATE_PER_SECOND:.0f}/s not kept"

    def __call__(self, evidence: Evidence) -> Finding:
        """Found if the harness is slow enough to be mistaken for an arm."""
        arm = evidence.result["arms"][PLANTED]
        online, rates = arm["latency"].get("online", {}), arm["images_per_second"]
        median, sustained = online.get("p50_seconds"), rates["sustained_per_second"]
        if median is None or sustained is None:
            return Finding(None, "not measured")
        slow = median > MEDIAN_LIMIT_SECONDS or sustained < SUSTAINED_SHARE * rates["offered_per_second"]
        tail = [
            f"{name} {duration_text(online[f'{name}_seconds'])}"
            for name in ("p50", "p95", "p99", "max")
            if online.get(f"{name}_seconds") is not None
        ]
        return Finding(
            slow, f"{', '.join(tail)}; {sustained:.0f} of {rates['offered_per_second']:.0f} a second"
        )
