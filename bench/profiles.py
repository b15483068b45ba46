"""How thorough a run is: how long a profile takes and what it can decide, said before anything starts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bench.database import connect
from bench.ledger_query import sql_text
from bench.load_plan import DEFAULT_DAY_SECONDS, DEFAULT_RATE_PER_SECOND

# Seconds of one replicate besides its days (start, stop) and of one night, both arms together, and of the
# servers, the capacity and the sealing. From the ledger/events.parquet of `lkbench run` on 2 idle cores, 600
# arrivals: start and stop are what lies outside the days and nights.
REPLICATE_SECONDS, NIGHT_SECONDS, SERVERS_SECONDS = 19.0, 52.0, 20.0
NEW_SHARE = 0.9  # of arrivals in the default workload; repeats are no key of their own
DECIDABLE_REPLICATES = 4  # the smallest exact two-sided Mann-Whitney p is 0.029 at 4 v 4, 0.10 at 3 v 3


@dataclass(frozen=True, slots=True)
class Profile:
    """Settings that a run takes where none are given. ``day_seconds`` None: 30 s, or as the images need.

    A run whose samples can't carry the ``claimed_percentiles`` is INVALID.
    """

    replicates: int
    days: int
    day_seconds: float | None
    rate_per_second: float = DEFAULT_RATE_PER_SECOND
    claimed_percentiles: tuple[str, ...] = ("p50",)


ALL_PERCENTILES = ("p50", "p90", "p95", "p99")
PROFILES = {
    "quick": Profile(replicates=1, days=1, day_seconds=None),
    "standard": Profile(replicates=4, days=1, day_seconds=None, claimed_percentiles=ALL_PERCENTILES),
    "thorough": Profile(replicates=6, days=2, day_seconds=60.0, claimed_percentiles=ALL_PERCENTILES),
}


def announcement(plan: Profile, arms: int) -> Iterator[str]:
    """Lines that say how long ``plan`` takes, and what it will be able to say."""
    day_seconds = plan.day_seconds or DEFAULT_DAY_SECONDS
    night_seconds = plan.days * (arms * day_seconds + NIGHT_SECONDS * arms / 2)
    seconds = SERVERS_SECONDS + plan.replicates * (REPLICATE_SECONDS * arms / 2 + night_seconds)
    nights, keys = plan.replicates * plan.days, plan.days * day_seconds * plan.rate_per_second * NEW_SHARE
    yield f"takes about {math.ceil(seconds / 60)} minutes on 2 cores that do nothing else"
    with connect() as connection:
        connection.execute(sql_text("percentiles"))
        names = "SELECT unnest(['p50', 'p90', 'p95', 'p99']) AS name, unnest([0.5, 0.9, 0.95, 0.99]) AS p"
        carried = connection.execute(
            f"SELECT name FROM ({names}) WHERE samples_needed(p) <= $keys",  # noqa: S608
            {"keys": int(keys * plan.replicates)},
        ).fetchall()
        ((needed,),) = connection.execute("SELECT cycles_needed()").fetchall()
    names = ", ".join(name for (name,) in carried) or "no percentile"
    yield f"about {keys * plan.replicates:,.0f} images per arm carry {names}"
    if nights >= needed:
        yield f"{nights} nights carry intervals of the batch consumer"
    else:
        yield f"intervals of the batch consumer need {needed} nights, this has {nights}"
    if plan.replicates >= DECIDABLE_REPLICATES:
        yield f"{plan.replicates} v {plan.replicates} replicates can decide a comparison"
    else:
        yield f"a comparison needs {DECIDABLE_REPLICATES} replicates a side, this has {plan.replicates}"
