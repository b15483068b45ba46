"""Fixed and per-image parts against known ones; the held-out check of days that obey and that do not."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bench.calibration.days import Day, Quantity, fit_all, observe, require_alike
from bench.calibration.fit import CONFIDENCE, fit_constant, fit_line
from bench.calibration.held_out import check_held_out, project_full_day
from bench.commands.calibrate import calibrate
from signals.errors import ConfigurationError, InvalidRun, UnlikeRuns
from signals.ledger import Stage
from tests.unit.synthetic_result import side, synthetic_result, write_run
from tests.unit.synthetic_run import GALAXY, complete_run, signature

STEP = Quantity("lambda", "step", "nightly", "step7_hive")
SIZES = (15.0, 15.0, 30.0, 30.0, 60.0, 60.0)
RATE = 10.0


def day(seconds: float, took: float, quantity: Quantity = STEP, known: float = 0.0) -> Day:
    return Day(quantity, seconds, round(seconds * RATE), took, known)


def test_an_exact_line_is_found_exactly() -> None:
    images = [150, 300, 600, 600]
    for sums in (False, True):
        fit = fit_line(images, [5 + 0.01 * n for n in images], sums=sums)
        assert fit.fixed.value == pytest.approx(5)
        assert fit.per_image.value == pytest.approx(0.01)
        assert fit.predict(2400).low == pytest.approx(29) == fit.predict(2400).high


@pytest.mark.parametrize("sums", [False, True])
def test_intervals_cover_as_often_as_they_say(sums: bool) -> None:
    random = np.random.default_rng(1)
    n = np.array([size * RATE for size in SIZES])
    covered = np.zeros(3)
    trials = 1000
    for _ in range(trials):
        noise = (
            random.standard_normal(len(n) + 1) * np.sqrt([*n, 2400.0] if sums else np.ones(len(n) + 1)) * 0.2
        )
        fit = fit_line(n.tolist(), (5 + 0.01 * n + noise[:-1]).tolist(), sums=sums)
        covered += (
            fit.fixed.covers(5),
            fit.per_image.covers(0.01),
            fit.predict(2400).covers(5 + 24 + noise[-1]),
        )
    # Four standard errors of a share of CONFIDENCE among the trials.
    allowed = 4 * np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / trials)
    assert np.abs(covered / trials - CONFIDENCE).max() < allowed


def test_neither_part_is_negative_and_the_rest_of_the_line_follows() -> None:
    falling = fit_line([150, 300, 600], [10.5, 10.0, 9.5], sums=False)
    assert falling.per_image.value == falling.per_image.low == 0
    assert falling.fixed.value == pytest.approx(10.0)
    assert falling.predict(2400).value == pytest.approx(10.0)
    through_zero = fit_line([100, 200, 400], [0.5, 1.5, 3.5], sums=False)
    assert through_zero.fixed.value == 0
    assert through_zero.per_image.value == pytest.approx(1750 / 210_000)


def test_intervals_of_a_held_out_day_hold_for_all_quantities_together() -> None:
    random = np.random.default_rng(3)
    quantities = [Quantity("lambda", "step", "nightly", f"step{number}") for number in range(40)]
    missed, trials = 0, 100
    for _ in range(trials):
        took = {(q, size, i): 5 + random.normal(0, 1) for q in quantities for i, size in enumerate(SIZES)}
        fitted = [day(size, seconds, quantity) for (quantity, size, _), seconds in took.items()]
        held_out = [day(240, 5 + random.normal(0, 1), quantity) for quantity in quantities]
        missed += not all(check.ok for check in check_held_out(fit_all(fitted), fitted, held_out))
    assert missed / trials <= 1 - CONFIDENCE + 4 * np.sqrt(CONFIDENCE * (1 - CONFIDENCE) / trials)


def test_too_few_sizes_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="3 sizes"):
        fit_line([150, 150, 300], [1, 1, 2], sums=False)
    with pytest.raises(ConfigurationError, match="two days"):
        fit_constant([150], [1])


def test_a_day_that_obeys_is_predicted_and_one_that_does_not_is_missed() -> None:
    random = np.random.default_rng(2)
    fitted = [day(size, 5 + 0.02 * size * RATE + random.normal(0, 0.05)) for size in SIZES]
    fits = fit_all(fitted)
    good, bad = check_held_out(fits, fitted, [day(240, 53.0), day(240, 80.0)])
    assert good.verdict == "within 10%" and good.ok
    assert bad.verdict == "MISSED" and not bad.ok
    with pytest.raises(ConfigurationError, match="4 times longer"):
        check_held_out(fits, fitted, [day(200, 45.0)])


def test_the_online_median_does_not_grow_and_the_wait_for_midnight_is_known() -> None:
    online, batch = (
        Quantity("kappa", "consumer", "consumer", "online"),
        Quantity("kappa", "consumer", "consumer", "batch"),
    )
    fitted = [
        d
        for i, size in enumerate(SIZES)
        for d in (day(size, 0.1 + 0.001 * (i % 2), online), day(size, 8 + 0.001 * i, batch, known=size / 2))
    ]
    checks = check_held_out(
        fit_all(fitted), fitted, [day(240, 0.1005, online), day(240, 8.0, batch, known=120.0)]
    )
    by_name = {check.quantity.name: check for check in checks}
    assert by_name["online"].predicted.value == pytest.approx(0.1005)
    assert by_name["batch"].measured == 128.0
    assert by_name["batch"].predicted.value == pytest.approx(128.0, rel=0.01)


def test_the_projection_states_its_formula() -> None:
    fitted = [day(size, 5 + 0.02 * size * RATE) for size in SIZES]
    (projection,) = project_full_day(fit_all(fitted), fitted)
    assert projection.images == 864_000
    assert projection.seconds.value == pytest.approx(5 + 0.02 * 864_000)
    assert projection.formula == "5 s + 0.02 s x 864,000 images"


def test_what_is_done_for_a_whole_nightly_job_counts_once(tmp_path: Path) -> None:
    run = complete_run(tmp_path)
    for image in range(8):
        start = 20.0 if image < 5 else 21.0  # jobs of five and of three images
        worker: dict[str, Any] = {"arm": "lambda", "path": "nightly", "pool": "nightly", "process": "worker"}
        of_image = {**worker, "image_signature": signature(image), "galaxy": GALAXY, "day": 0}
        run.row(Stage.ENCODE, start, start + 0.2, **of_image)
        run.row(Stage.WRITE, start + 0.2, start + 0.5, **of_image)
    days = {str(d.quantity): d for d in observe(run.write())}
    assert (days["nightly encode"].images, days["nightly encode"].seconds) == (8, pytest.approx(0.4))
    assert (days["nightly write"].images, days["nightly write"].seconds) == (8, pytest.approx(0.6))


def calibrated(*run_dirs: Path) -> BaseException | None:
    """What ends ``lkbench calibrate`` on stored runs."""
    runs = [argument for run_dir in run_dirs for argument in ("--run", str(run_dir))]
    with TemporaryDirectory() as output:
        return CliRunner().invoke(calibrate, [*runs, "--output", output]).exception


def test_an_invalid_run_is_not_fitted(tmp_path: Path) -> None:
    good, broken = synthetic_result("good", [0.01]), synthetic_result("broken", [0.01])
    broken["validity"]["valid"] = False
    error = calibrated(write_run(tmp_path, good), write_run(tmp_path, broken))
    assert isinstance(error, InvalidRun)
    assert "broken" in str(error)


@pytest.mark.parametrize(
    "changes", [{"rate_per_second": 40.0}, {"model": {"name": "mine", "sha256": "x"}}, {"workers": 3}]
)
def test_unlike_runs_are_not_fitted_together(changes: dict[str, Any], tmp_path: Path) -> None:
    first, other = synthetic_result("first", [0.01]), synthetic_result("other", [0.01])
    other["provenance"] |= changes
    error = calibrated(write_run(tmp_path, first), write_run(tmp_path, other))
    assert isinstance(error, UnlikeRuns)
    assert len(str(error).split(";")) == 1  # what differs, and nothing else


def test_runs_with_other_days_and_seeds_are_fitted_together() -> None:
    first, other = synthetic_result("first", [0.01]), synthetic_result("other", [0.01])
    other["day_seconds"] = 40.0
    other["provenance"] |= {"seed": 2, "days": 3, "arrivals": 400, "schedule_sha256": "x"}
    require_alike(side("runs", first, other).runs)


def test_a_run_folder_gives_its_days(tmp_path: Path) -> None:
    days = {(d.quantity.arm, str(d.quantity)): d for d in observe(complete_run(tmp_path).write())}
    delta = days["lambda", "step1_delta"]
    assert delta.seconds == pytest.approx(20 / 6)
    assert delta.images == 40
    inference = days["lambda", "online inference"]
    assert (inference.images, inference.seconds) == (39, pytest.approx(0.39))
    assert days["lambda", "nightly inference"].seconds == pytest.approx(39 * 0.04)
    assert days["kappa", "online median"].measured == pytest.approx(0.04)
    batch = days["kappa", "batch median"]
    assert batch.seconds == pytest.approx(5.0)
    assert batch.measured == pytest.approx(5 + 10 - 0.2 * 19)
