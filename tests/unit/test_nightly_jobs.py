from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lambda_pipeline.offline.step2_enqueue import batches
from signals.catalog import Catalog

CATALOG = Catalog.load()
PIPELINES = sorted(CATALOG.pipelines)


def delta(pipelines: list[str]) -> pa.Table:
    return pa.table(
        {
            "galaxy": pa.array([CATALOG.pipeline(name).galaxy for name in pipelines], pa.string()),
            "image_signature": pa.array([f"{number:032x}" for number in range(len(pipelines))], pa.string()),
            "pipeline": pa.array(pipelines, pa.string()),
        }
    )


@given(st.lists(st.sampled_from(PIPELINES), max_size=700), st.integers(1, 9), st.sampled_from([1, 8, 96]))
def test_each_image_is_in_one_job_of_its_priority(pipelines: list[str], workers: int, max_batch: int) -> None:
    table = delta(pipelines)
    jobs = list(batches(table, CATALOG, workers, max_batch))
    assert sorted(row["image_signature"] for job, _ in jobs for row in job) == sorted(
        table["image_signature"].to_pylist()
    )
    for job, priority in jobs:
        assert job and len(job) <= max(64, max_batch)
        assert {CATALOG.pipeline(row["pipeline"]).media.priority for row in job} == {priority}
    assert jobs == list(batches(table, CATALOG, workers, max_batch))
    assert [priority for _, priority in jobs] == sorted(priority for _, priority in jobs)


def test_jobs_become_shorter_towards_the_end_of_a_night() -> None:
    sizes = [len(job) for job, _ in batches(delta(PIPELINES[:1] * 2000), CATALOG, 2, 8)]
    assert sizes[0] == 64 and sizes == sorted(sizes, reverse=True)
    assert sizes[-2] == 8  # the last has what is left
