"""Builds run folders by hand: histories with known answers, real ledger streams, real Hive partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from bench.image_names import write_image_names
from bench.images import DatasetImage
from bench.seal import seal
from signals.hive import HIVE_SCHEMA
from signals.ledger import LEDGER_SCHEMA, Stage

SECOND = 1_000_000_000
EPOCH = 1_700_000_000 * SECOND  # first instant of day 0
GALAXY = "pins"

DEFAULTS: dict[str, Any] = {
    "arm": "kappa",
    "replicate": 1,
    "day": -1,
    "path": "",
    "event_id": -1,
    "image_signature": "",
    "galaxy": "",
    "pipeline": "",
    "attempt": 1,
    "pool": "",
    "device": "",
    "batch_size": 0,
    "outcome": "ok",
    "detail": "",
    "process": "driver",
    "pid": 1,
}


def at(seconds: float) -> int:
    """Unix ns of a moment, in seconds after the first instant of day 0."""
    return EPOCH + round(seconds * SECOND)


def signature(number: int) -> str:
    return f"{number:032x}"


@dataclass
class SyntheticRun:
    """A run folder in the making. Times are in seconds after the first instant of day 0."""

    run_dir: Path
    arms: tuple[str, ...] = ("lambda", "kappa")
    replicates: int = 1
    day_seconds: float = 10.0
    events: list[dict[str, Any]] = field(default_factory=list)
    file_names: dict[int, str] = field(default_factory=dict)  # image -> name of the user's file

    def row(self, stage: Stage, start: float, end: float, **fields: Any) -> None:
        """Append one ledger row."""
        times = {"stage": str(stage), "start_ns": at(start), "end_ns": at(end)}
        self.events.append({**DEFAULTS, **times, **fields})

    def day(self, day: int = 0, *, start: float = 0.0, **fields: Any) -> None:
        self.row(Stage.DAY, start, start + self.day_seconds, day=day, path="harness", **fields)

    def arrival(
        self, event_id: int, image: int, scheduled: float, late: float = 0.001, **fields: Any
    ) -> None:
        fields = {"day": 0, "galaxy": GALAXY, "pipeline": "crawled", "path": "harness", **fields}
        self.row(
            Stage.ARRIVAL,
            scheduled,
            scheduled + late,
            event_id=event_id,
            image_signature=signature(image),
            **fields,
        )

    def online(self, event_id: int, image: int, scheduled: float, end: float, **fields: Any) -> None:
        """The online client held the signals of one arrival at ``end``."""
        fields = {"day": 0, "galaxy": GALAXY, "path": "consumer", "process": "online_client", **fields}
        self.row(
            Stage.AVAILABLE_ONLINE,
            scheduled,
            end,
            event_id=event_id,
            image_signature=signature(image),
            **fields,
        )

    def batch(self, image: int, end: float, **fields: Any) -> None:
        """The batch client had read one key at ``end``."""
        fields = {"day": 0, "galaxy": GALAXY, "path": "consumer", "process": "batch_client", **fields}
        self.row(Stage.AVAILABLE_BATCH, end, end, image_signature=signature(image), **fields)

    def dead_letter(self, image: int, end: float, reason: str, **fields: Any) -> None:
        fields = {"day": 0, "galaxy": GALAXY, "path": "stream", "outcome": "dead_letter", **fields}
        self.row(
            Stage.DEAD_LETTER,
            end,
            end,
            image_signature=signature(image),
            detail=f"{reason}: of image {image}",
            **fields,
        )

    def write(self, *, status: str = "complete", sealed: bool = True) -> Path:
        """Write streams and manifest, and seal. Returns the run folder."""
        write_streams(self.run_dir / "ledger" / "raw", self.events)
        if self.file_names:
            named = (DatasetImage(Path(), signature(i), 1, name) for i, name in self.file_names.items())
            write_image_names(self.run_dir, named)
        manifest = {
            "run_id": self.run_dir.name,
            "status": status,
            "started": "2026-11-24T12:00:00.000+00:00",
            "ended": "2026-11-24T12:03:20.000+00:00",
            "error": None,
            "seed": 1,
            "arms": list(self.arms),
            "replicates": self.replicates,
            "days": 1,
            "day_seconds": self.day_seconds,
            "compression": 86_400 / self.day_seconds,
            "rate_per_second": 20.0,
            "arrivals": 1,
            "distinct_images": 1,
            "workload": "mixed",
            "dataset": "crops",
            "config": {"s3": {"bucket": "lkbench"}},
            "device": "cpu",
            "workers": 2,
            "machine": {
                **{"cpu": "Test CPU", "cores": 2, "memory_bytes": 24 * 2**30, "platform": "Linux"},
                **{"python": "3.11.2", "python_build": "main, GCC 12.2.0"},
            },
            "versions": {"duckdb": "1.0"},
            "model": {"name": "efficientnet-lite0", "sha256": "ab" * 32},
            "commit": {"sha": "cd" * 20, "dirty": False},
        }
        (self.run_dir / "manifest.json").write_bytes(orjson.dumps(manifest))
        if sealed:
            seal(self.run_dir)
        return self.run_dir


def write_streams(folder: Path, rows: Iterable[dict[str, Any]]) -> list[Path]:
    """One Arrow stream per process, as the processes of a run write them."""
    folder.mkdir(parents=True, exist_ok=True)
    by_process: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_process[row["process"], row["pid"]].append(row)
    paths = []
    for (process, pid), mine in by_process.items():
        path = folder / f"{process}-{pid}-0.arrows"
        with path.open("wb") as sink, pa.ipc.new_stream(sink, LEDGER_SCHEMA) as writer:
            for first in range(0, len(mine), 50):
                writer.write_table(pa.Table.from_pylist(mine[first : first + 50], LEDGER_SCHEMA))
        paths.append(path)
    return paths


def embedding(image: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(image).random(64, dtype=np.float32)


def top5(image: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    rng = np.random.default_rng(image)
    probabilities = np.sort(rng.random(5, dtype=np.float32))[::-1]
    return np.stack([rng.permutation(1000)[:5].astype(np.float32), probabilities], axis=1)


def hive_rows(images: Iterable[int]) -> list[dict[str, Any]]:
    """Both shipped signals of each image, as rows of a partition."""
    rows = []
    for image in images:
        for name, values in (("visual_embedding", embedding(image)), ("top5_classes", top5(image))):
            rows.append(
                {
                    "image_signature": signature(image),
                    "signal": name,
                    "version": 1,
                    "pipeline": "crawled",
                    "shape": list(values.shape),
                    "values": values.astype("<f4").tobytes(),
                    "model_sha256": "ab" * 32,
                }
            )
    return rows


def write_partition(
    run_dir: Path, arm: str, rows: list[dict[str, Any]], *, replicate: int = 1, day: int = 0
) -> Path:
    """One partition of one arm, named in its partitions.json. Returns the Parquet file."""
    arm_dir = run_dir / "arms" / f"{arm}-{replicate}"
    folder = arm_dir / "warehouse" / "signals" / f"galaxy={GALAXY}" / f"day={day}" / "attempt-1"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "part-00000.zstd.parquet"
    pq.write_table(pa.Table.from_pylist(rows, HIVE_SCHEMA), path, compression="zstd")
    (folder / "_SUCCESS").touch()
    listing = arm_dir / "partitions.json"
    known = orjson.loads(listing.read_bytes()) if listing.exists() else []
    known.append({"galaxy": GALAXY, "day": day, "location": str(folder.relative_to(run_dir))})
    listing.write_bytes(orjson.dumps(known))
    return path


def complete_run(run_dir: Path, images: int = 40) -> SyntheticRun:
    """Two arms, one day of 10 s, ``images`` images of which the last is a dead letter; image 0 comes twice.

    Lambda computes every image online (50 ms) and again at night; Kappa once in the stream (40 ms). Batch:
    Lambda 20 s after midnight, Kappa 5 s after. All of it is sound: the run is VALID.
    """
    run = SyntheticRun(run_dir)
    for arm in run.arms:
        _add_arm(run, arm, images)
        write_partition(run_dir, arm, hive_rows(range(images - 1)))
    return run


def _add_arm(run: SyntheticRun, arm: str, images: int) -> None:
    online_path, pool = ("online", "online") if arm == "lambda" else ("stream", "stream")
    latency = 0.05 if arm == "lambda" else 0.04
    batch_end = run.day_seconds + (20.0 if arm == "lambda" else 5.0)
    common: dict[str, Any] = {"arm": arm}
    worker: dict[str, Any] = {**common, "path": online_path, "pool": pool, "device": "cpu:0", "pid": 7}
    worker["process"] = f"{arm}-1-{pool}_worker"
    run.day(**common)
    run.row(Stage.DEVICE_PROVISIONED, -5.0, -4.0, **worker)
    for event_id in range(images + 1):
        image = event_id if event_id < images else 0
        scheduled = 0.2 * event_id
        run.arrival(event_id, image, scheduled, **common)
        of_image = {
            **worker,
            "event_id": event_id,
            "image_signature": signature(image),
            "galaxy": GALAXY,
            "pipeline": "crawled",
            "day": 0,
        }
        run.row(Stage.QUEUE, scheduled, scheduled + 0.01, **of_image)
        if image == images - 1:
            run.dead_letter(
                image, scheduled + 0.02, "truncated", event_id=event_id, **common, path=online_path
            )
            continue
        if event_id == images:
            run.row(Stage.PUBLISH, scheduled + 0.01, scheduled + 0.015, **{**of_image, "outcome": "skipped"})
            run.online(event_id, image, scheduled, scheduled + 0.02, **common)
            continue
        run.row(Stage.FETCH, scheduled + 0.01, scheduled + 0.015, **of_image)
        run.row(Stage.INFERENCE, scheduled + 0.015, scheduled + 0.025, **of_image)
        run.row(Stage.DEVICE_BUSY, scheduled + 0.015, scheduled + 0.025, **{**worker, "batch_size": 1})
        run.row(Stage.PUBLISH, scheduled + 0.025, scheduled + 0.03, **of_image)
        run.online(event_id, image, scheduled, scheduled + latency, **common)
        run.batch(image, batch_end, **common)
    run.row(Stage.DEVICE_RELEASED, -4.0, batch_end + 1, **worker)
    _add_night(run, arm, images, batch_end)


def _add_night(run: SyntheticRun, arm: str, images: int, batch_end: float) -> None:
    midnight = run.day_seconds
    if arm != "lambda":
        names: tuple[str, ...] = ("dump.watermark", "dump.checkpoint", "dump.transform", "dump.swap")
        length = (batch_end - midnight) / len(names)
        for i, name in enumerate(names):
            run.row(
                Stage.STEP,
                midnight + i * length,
                midnight + (i + 1) * length,
                arm=arm,
                day=0,
                path="dump",
                detail=name,
            )
        return
    names = ("step1_delta", "step2_jobs", "step3_pool_up", "step4_infer", "step6_thrift", "step7_hive")
    length = (batch_end - midnight) / len(names)
    for i, name in enumerate(names):
        run.row(
            Stage.STEP,
            midnight + i * length,
            midnight + (i + 1) * length,
            arm=arm,
            day=0,
            path="nightly",
            detail=name,
        )
    worker: dict[str, Any] = {
        "arm": arm,
        "path": "nightly",
        "pool": "nightly",
        "device": "cpu:0",
        "process": "lambda-1-nightly_worker",
        "pid": 9,
    }
    run.row(Stage.DEVICE_PROVISIONED, 16.0, 18.0, **worker)
    for image in range(images):
        start = 18.0 + image * 0.05
        of_image = {**worker, "image_signature": signature(image), "galaxy": GALAXY, "day": 0}
        run.row(Stage.FETCH, start, start + 0.01, **of_image)
        if image == images - 1:
            run.dead_letter(image, start + 0.01, "truncated", arm=arm, path="nightly")
            continue
        run.row(Stage.INFERENCE, start + 0.01, start + 0.05, **of_image)
        run.row(Stage.DEVICE_BUSY, start + 0.01, start + 0.05, **{**worker, "batch_size": 1})
    run.row(Stage.DEVICE_RELEASED, 18.0, 22.0, **worker)
