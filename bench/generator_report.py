"""How fast the generator is by itself, and how late: into an arm that does nothing, with its ledger."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.generator import Generator
from bench.images import Dataset, DatasetImage
from bench.ledger_query import open_ledger
from bench.load import Load
from bench.null_arm import NullArm
from bench.seal import seal
from bench.validity import GENERATOR_LATE_SECONDS
from bench.workload import Arrivals, Workload, make_schedule
from signals.catalog import Catalog
from signals.errors import PipelineError
from signals.ledger import Ledger

DISTINCT_IMAGES = 2000
LEAD_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class GeneratorReport:
    """Delays are from the scheduled time until the arm had taken the arrival, as the ledger has them."""

    asked_per_second: float
    reached_per_second: float  # arrivals over the time from the first scheduled one to the last taken one
    arrivals: int
    delay_p50_seconds: float
    delay_p99_seconds: float
    delay_max_seconds: float
    limit_seconds: float  # of the 99th percentile, above which a run is INVALID

    @property
    def on_time(self) -> bool:
        """Whether a run with these delays would count."""
        return self.delay_p99_seconds <= self.limit_seconds


def measure_generator(rate_per_second: float, seconds: float) -> GeneratorReport:
    """Submit Poisson arrivals at a mean rate for ``seconds`` to a :class:`NullArm`, and read the ledger."""
    load = _load(rate_per_second, seconds)
    arm = NullArm()
    with tempfile.TemporaryDirectory(prefix="lkbench-generator-") as folder:
        run_dir = Path(folder)
        with Ledger(run_dir / "ledger" / "raw", process="driver", arm="null", replicate=1) as ledger:
            generator = Generator(load, arm.submit, ledger)
            offset_ns = time.time_ns() - time.monotonic_ns()
            generator.run_day(0, time.time_ns() + round(LEAD_SECONDS * 1e9), offset_ns)
        seal(run_dir)
        with open_ledger(run_dir, with_base=False) as query:
            (row,) = query.execute(_DELAYS)
    if row["arrivals"] != arm.accepted:
        raise PipelineError(f"the ledger has {row['arrivals']} of {arm.accepted} arrivals")
    return GeneratorReport(asked_per_second=rate_per_second, limit_seconds=GENERATOR_LATE_SECONDS, **row)


_DELAYS = """
WITH delays AS (
    SELECT start_ns AS scheduled_ns, end_ns AS submitted_ns, (end_ns - start_ns) / 1e9 AS seconds
    FROM events WHERE stage = 'arrival'
)
SELECT
    count(*) AS arrivals,
    count(*) / ((max(submitted_ns) - min(scheduled_ns)) / 1e9) AS reached_per_second,
    quantile_cont(seconds, 0.5) AS delay_p50_seconds,
    quantile_cont(seconds, 0.99) AS delay_p99_seconds,
    max(seconds) AS delay_max_seconds
FROM delays
"""


def _load(rate_per_second: float, seconds: float) -> Load:
    catalog = Catalog.load()
    arrivals = max(2, round(rate_per_second * seconds))
    distinct = min(DISTINCT_IMAGES, arrivals)
    workload = Workload(
        name="generator",
        description="",
        arrivals=Arrivals(process="poisson"),
        repeat_share=1 - distinct / arrivals,
        mix=dict.fromkeys(catalog.pipelines, 1.0),
    )
    schedule = make_schedule(workload, seed=1, distinct_images=distinct, days=1, day_seconds=seconds)
    images = (DatasetImage(Path(), f"{number:032x}", 0, "") for number in range(distinct))
    return Load(schedule, Dataset("numbers", tuple(images), is_shipped=True), catalog, "lk_generator")
