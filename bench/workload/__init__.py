"""Workloads: which image arrives when, through which pipeline, in what state. See ``docs/workloads.md``."""

from bench.workload.definition import Arrivals, Late, TraceSource, Workload
from bench.workload.schedule import Schedule, make_schedule, rate_curve, replay_schedule
from bench.workload.trace import Trace, read_trace

__all__ = [
    "Arrivals",
    "Late",
    "Schedule",
    "Trace",
    "TraceSource",
    "Workload",
    "make_schedule",
    "rate_curve",
    "read_trace",
    "replay_schedule",
]
