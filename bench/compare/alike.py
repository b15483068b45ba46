"""Whether runs may be compared: they must differ in the code under test and in nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from bench.compare.sides import StoredRun
from signals.errors import UnlikeRuns

_SAME = {
    "workload": "workload",
    "dataset": "data set",
    "seed": "seed",
    "profile": "profile",
    "schedule_sha256": "schedule of arrivals",
    "days": "days",
    "arrivals": "arrivals",
    "distinct_images": "distinct images",
    "rate_per_second": "arrivals per second",
    "device": "device",
    "workers": "workers per pool",
    "config_sha256": "configuration (hash)",
}


def require_alike(
    runs: Sequence[StoredRun], *, to_be: str = "compared", may_differ: Collection[str] = ()
) -> None:
    """Raise InvalidRun if any run is INVALID, and UnlikeRuns, saying what differs, if two can't be ``to_be``
    as they differ in anything but the code and the facts that ``may_differ``."""
    for run in runs:
        run.require_valid()
    first = runs[0]
    for other in runs[1:]:
        if found := list(differences(first.result, other.result, may_differ)):
            raise UnlikeRuns(f"runs {first.name} and {other.name} can't be {to_be}: {'; '.join(found)}")


def differences(
    left: Mapping[str, Any], right: Mapping[str, Any], may_differ: Collection[str] = ()
) -> Iterator[str]:
    """What two results differ in beside the code and the facts that ``may_differ``, one sentence each."""
    facts, others = dict(_facts(left)), dict(_facts(right))
    for name, value in facts.items():
        if value != others[name] and name not in may_differ:
            yield f"{name}: {value} and {others[name]}"


def _facts(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    made_from = result["provenance"]
    yield "schema version", result["schema_version"]
    yield "arms", ", ".join(result["arms"])
    yield "seconds per day", result["day_seconds"]
    for key, name in _SAME.items():
        yield name, made_from.get(key)
    yield "model", (made_from.get("model") or {}).get("sha256")
    machine = made_from.get("machine") or {}
    # Kernel and Python may be updated; another processor or size is another machine.
    yield "processor", machine.get("cpu")
    yield "cores", machine.get("cores")
    memory = machine.get("memory_bytes")
    yield "memory", None if memory is None else f"{memory / 2**30:.0f} GiB"
