from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bench.durations import duration_text
from bench.explain import explain_signature
from signals.errors import ConfigurationError
from signals.ledger import Stage
from tests.unit.synthetic_run import complete_run, signature


def explained(run_dir: Path, prefix: str) -> str:
    console = Console(width=160, color_system=None)
    with console.capture() as capture:
        console.print(explain_signature(run_dir, prefix))
    return capture.get()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = complete_run(tmp_path_factory.mktemp("runs") / "run-1")
    run.arrival(500, 0xABC, 1.0)  # lost in kappa
    run.row(
        Stage.FETCH,
        1.1,
        1.2,
        path="stream",
        event_id=500,
        image_signature=signature(0xABC),
        galaxy="pins",
        attempt=3,
        outcome="retry",
        detail="S3 down",
    )
    return run.write()


def test_the_way_of_an_image_through_both_arms(run_dir: Path) -> None:
    text = explained(run_dir, signature(3))
    kappa, lam = text.split("lambda, replicate 1")
    for part in (kappa, lam):
        order = [
            "first arrival",
            "queue",
            "fetch",
            "inference",
            "publish",
            "available online",
            "Hive partition",
        ]
        assert [part.index(word) for word in order] == sorted(part.index(word) for word in order)
        assert "day=0: top5_classes v1, visual_embedding v1" in part
    assert "available online, 40.0 ms after it arrived" in kappa
    assert "available in batch, 14.4 s after it arrived" in kappa
    assert "dump.checkpoint" in kappa
    assert "nightly path" not in kappa
    assert "nightly path" in lam
    assert "inference, pool nightly on cpu:0" in lam
    assert "step7_hive" in lam
    assert "available in batch, 29.4 s after it arrived" in lam


def test_a_repeat_a_dead_letter_and_a_lost_image(run_dir: Path) -> None:
    assert "arrival 2 (a repeat), event 40" in explained(run_dir, signature(0))
    dead = explained(run_dir, signature(39))
    assert dead.count("dead letter: truncated") == 3
    assert "lost" not in dead
    lost = explained(run_dir, signature(0xABC))
    assert "fetch, attempt 3, retry S3 down" in lost
    assert lost.count("lost: neither") == 2


def test_a_prefix_is_enough_if_only_one_image_has_it(run_dir: Path) -> None:
    assert explained(run_dir, signature(0xABC)[:31].upper()) == explained(run_dir, signature(0xABC))
    with pytest.raises(ConfigurationError, match=r"several signatures.*…"):
        explain_signature(run_dir, "00")
    with pytest.raises(ConfigurationError, match="no image of this run"):
        explain_signature(run_dir, "ff")
    for bad in ("", "xyz", "0" * 33, "%"):
        with pytest.raises(ConfigurationError, match="hex"):
            explain_signature(run_dir, bad)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.00 s"),
        (75.24, "75.2 s"),
        (119.9, "120 s"),
        (4000, "66.7 min"),
        (86_400, "24.0 h"),
        (-0.5, "-500 ms"),
    ],
)
def test_durations_are_written_with_three_digits(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
