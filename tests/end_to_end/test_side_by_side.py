"""The main job on a user's own folder: good photos, a cat, a copy, and every kind of bad file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import orjson
import pytest
from skimage.data import data_dir

from bench.corrupt_images import corrupt_images
from bench.images import load_dataset
from signals.image import image_signature
from tests.end_to_end.conftest import lkbench
from tests.unit.page_parser import PageParser

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(600)]
CAT_CLASSES = range(281, 286)  # ImageNet: tabby, tiger cat, Persian, Siamese, Egyptian cat
GOOD_IMAGES = 40
HOSTILE_NAMES = (
    "<img src=x onerror=alert(1)>.jpg",
    "=cmd|' calc'!A0.jpg",
    "'; drop table events; --.jpg",
    r"x\..\..\y.jpg",
)


@dataclass
class Finished:
    run_dir: Path
    images: Path
    process: subprocess.CompletedProcess[str]

    @property
    def result(self) -> dict:  # type: ignore[type-arg]
        return orjson.loads((self.run_dir / "result.json").read_bytes())

    def sql(self, query: str) -> list[tuple]:  # type: ignore[type-arg]
        events = self.run_dir / "ledger" / "events.parquet"
        with duckdb.connect() as connection:
            connection.execute(f"create view events as select * from '{events}'")
            return connection.execute(query).fetchall()

    def partitions(self, arm: str) -> list[dict]:  # type: ignore[type-arg]
        found = orjson.loads((self.run_dir / "arms" / f"{arm}-1" / "partitions.json").read_bytes())
        return [{**p, "location": self.run_dir / p["location"]} for p in found]


def install_signals(site: Path) -> None:
    """What installing a user's package leaves behind: a module, and the entry point that names it."""
    metadata = site / "my_signals-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-signals\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[lkbench.signals]\nmine = my_signals\n")
    (site / "my_signals.py").write_text(
        "from signals.declaration import signal\n"
        "@signal(name='embedding_norm', version=1, model_output='embedding', galaxies=('pins',))\n"
        "def embedding_norm(embedding):\n"
        "    return (embedding**2).sum(axis=1, keepdims=True) ** 0.5\n"
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("run")
    install_signals(folder / "site")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(folder / "site"))
        yield finished_run(folder)


def finished_run(folder: Path) -> Finished:
    images = folder / "photos"
    images.mkdir()
    for image in load_dataset("crops").images[:GOOD_IMAGES]:
        shutil.copy(image.path, images / image.path.name)
    shutil.copy(Path(data_dir) / "chelsea.png", images / "cat.png")
    shutil.copy(images / "cat.png", images / "the same cat.png")
    for sample in corrupt_images():
        (images / sample.name).write_bytes(sample.data)
    for number, name in enumerate(HOSTILE_NAMES):
        (images / name).write_bytes(b"no image, number %d" % number)
    process = lkbench(
        "run", "--images", str(images), "--output", str(folder / "runs"), "--seed", "7", timeout_seconds=500
    )
    # 6: INVALID, as it is on a machine that is busy with other work; which rules may break is tested below.
    assert process.returncode in (0, 6), process.stdout + process.stderr
    (run_dir,) = (folder / "runs").iterdir()
    return Finished(run_dir, images, process)


def distinct_signatures(finished: Finished) -> set[str]:
    return {image_signature(path.read_bytes()) for path in finished.images.iterdir()}


def test_every_distinct_image_is_a_signal_or_a_dead_letter_for_both_consumers(finished: Finished) -> None:
    offered = set(finished.sql("select distinct image_signature from events where stage = 'arrival'"))
    assert {signature for (signature,) in offered} == distinct_signatures(finished)
    for arm in ("lambda", "kappa"):
        arrivals = f"from events where arm = '{arm}' and stage = 'arrival'"
        keys = set(finished.sql(f"select distinct galaxy, image_signature {arrivals}"))
        dead = set(
            finished.sql(
                f"select distinct galaxy, image_signature from events where arm = '{arm}' "
                "and stage = 'dead_letter' and path in ('online', 'stream')"
            )
        )
        for stage in ("available_online", "available_batch"):
            available = set(
                finished.sql(
                    f"select distinct galaxy, image_signature from events where arm = '{arm}' "
                    f"and stage = '{stage}' and outcome = 'ok'"
                )
            )
            assert available | dead == keys
            assert not available & dead
    # What else the machine does while it tests says nothing about the pipelines.
    broken = {rule["id"] for rule in finished.result["validity"]["rules"] if not rule["ok"]}
    assert broken <= {"machine_quiet"}


def test_both_arms_give_every_bad_file_the_expected_verdict(finished: Finished) -> None:
    expected = {image_signature(s.data): s.reason for s in corrupt_images()}
    for name in HOSTILE_NAMES:
        expected[image_signature((finished.images / name).read_bytes())] = "unsupported_format"
    for arm in ("lambda", "kappa"):
        rows = finished.sql(
            f"select distinct image_signature, split_part(detail, ':', 1) from events where arm = '{arm}' "
            "and stage = 'dead_letter'"
        )
        assert dict(rows) == {s: reason for s, reason in expected.items() if reason}
        assert len(rows) == len(dict(rows))


def test_the_cat_is_a_cat_through_each_full_path(finished: Finished) -> None:
    cat = image_signature((finished.images / "cat.png").read_bytes())
    for arm in ("lambda", "kappa"):
        found = 0
        for partition in finished.partitions(arm):
            rows = duckdb.sql(
                f"select values from '{partition['location']}/*.parquet' "
                f"where image_signature = '{cat}' and signal = 'top5_classes'"
            ).fetchall()
            for (values,) in rows:
                top = memoryview(values).cast("f")
                assert int(top[0]) in CAT_CLASSES
                found += 1
        assert found


def test_a_signal_of_the_user_s_own_package_is_computed_by_both_arms(finished: Finished) -> None:
    for arm in ("lambda", "kappa"):
        images: dict[str, set[str]] = {}
        for partition in finished.partitions(arm):
            signals = duckdb.sql(
                f"select signal, count(*) as images from '{partition['location']}/*.parquet' group by all"
            ).fetchall()
            images.setdefault(partition["galaxy"], set()).update(signals)
        shipped = {"top5_classes", "visual_embedding"}
        assert {signal for signal, _ in images["pins"]} == {"embedding_norm", *shipped}
        assert len({count for _, count in images["pins"]}) == 1
        assert {signal for signal, _ in images["products"]} == shipped


def test_lambda_starts_and_stops_its_nightly_pool_and_kappa_dumps_without_a_device(
    finished: Finished,
) -> None:
    pool = finished.sql("select distinct stage from events where arm = 'lambda' and pool = 'nightly'")
    assert {"device_provisioned", "device_busy", "device_released"} <= {stage for (stage,) in pool}
    ((start, end),) = finished.sql(
        "select min(start_ns), max(end_ns) from events where arm = 'kappa' and path = 'dump' "
        "and stage = 'step'"
    )
    assert start < end
    assert finished.sql("select distinct pool from events where arm = 'kappa' and pool <> ''") == [
        ("stream",)
    ]
    (after_watermark,) = finished.sql(
        "select max(end_ns) from events where arm = 'kappa' and detail = 'dump.watermark'"
    )[0]
    assert finished.sql(
        "select count(*) from events where arm = 'kappa' and stage = 'device_busy' "
        f"and start_ns > {after_watermark}"
    ) == [(0,)]


def test_nightly_steps_run_one_after_the_other(finished: Finished) -> None:
    steps = finished.sql(
        "select detail, start_ns, end_ns from events where arm = 'lambda' and stage = 'step' "
        "and detail like 'step%' order by start_ns"
    )
    assert [name[:5] for name, _, _ in steps] == [f"step{number}" for number in range(1, 10)]
    after = {name[:5]: start for name, start, _ in steps}
    for name, _, end in steps:
        # The pool (3) is up while jobs run (4, 5); every other step waits for the one before.
        if name[:5] not in ("step3", "step4", "step5", "step9"):
            assert end <= after[f"step{int(name[4]) + 1}"]


def test_partitions_are_the_same_table_in_both_arms(finished: Finished) -> None:
    def described(arm: str) -> dict[tuple[str, int], tuple[list[tuple], list[tuple]]]:  # type: ignore[type-arg]
        return {
            (p["galaxy"], p["day"]): (
                duckdb.sql(f"describe select * from '{p['location']}/*.parquet'").fetchall(),
                duckdb.sql(
                    f"select image_signature, signal, version from '{p['location']}/*.parquet' order by all"
                ).fetchall(),
            )
            for p in finished.partitions(arm)
        }

    assert described("lambda") == described("kappa")
    assert described("lambda")


def test_table_json_and_ledger_tell_the_same_numbers(finished: Finished) -> None:
    verified = lkbench("verify", str(finished.run_dir))
    assert verified.returncode == 0, verified.stdout
    reported = lkbench("report", str(finished.run_dir))
    assert reported.returncode == 0, reported.stderr
    for arm in ("lambda", "kappa"):
        ((median, n),) = finished.sql(
            f"""
            with first as (select galaxy, image_signature, min(start_ns) as scheduled_ns from events
                           where arm = '{arm}' and stage = 'arrival' group by all),
                 seen as (select galaxy, image_signature, min(end_ns) as seen_ns from events
                          where arm = '{arm}' and stage = 'available_batch' and outcome = 'ok' group by all)
            select median((seen_ns - scheduled_ns) / 1e9), count(*)
            from first join seen using (galaxy, image_signature)
            """
        )
        figures = finished.result["arms"][arm]["latency"]["batch"]
        assert figures["n"] == n
        assert figures["p50_seconds"] == pytest.approx(median)


def test_explain_tells_one_image_s_way_through_each_arm(finished: Finished) -> None:
    cat = image_signature((finished.images / "cat.png").read_bytes())
    told = lkbench("explain", str(finished.run_dir), cat[:10])
    assert told.returncode == 0, told.stderr
    for word in (cat, "lambda", "kappa", "fetch", "decode", "inference", "online", "batch"):
        assert word in told.stdout


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_file_name_travels_through_a_run_as_text(finished: Finished, name: str) -> None:
    signature = image_signature((finished.images / name).read_bytes())
    told = lkbench("explain", str(finished.run_dir), signature)
    assert f"file {name}\n" in told.stdout
    assert "dead letter: unsupported_format" in told.stdout
    for arm in ("lambda", "kappa"):
        rows = finished.result["arms"][arm]["dead_letters"]["rows"]
        assert name in [file for row in rows for file in row["files"]]
    page = PageParser.of(finished.run_dir / "report.html")
    assert name in page.text
    assert "img" not in page.tag_names


def test_the_run_folder_proves_what_ran_and_keeps_no_secret(finished: Finished) -> None:
    manifest = orjson.loads((finished.run_dir / "manifest.json").read_bytes())
    assert manifest["status"] == "complete"
    assert manifest["seed"] == 7
    assert len(manifest["model"]["sha256"]) == 64
    assert manifest["machine"]["cores"] >= 1
    assert (finished.run_dir / "report.html").stat().st_size < 5_000_000
    kept = {path.name for path in finished.run_dir.rglob("*")}
    assert not {name for name in kept if name.endswith(("context.json", ".token", "secrets.properties"))}
