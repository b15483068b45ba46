from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.commands.outcome import hold
from bench.commands.peers import SYSTEMS, as_plain
from bench.exit_codes import ExitCode
from bench.limit.loop import Window
from bench.peers.comparison import peer_targets
from bench.peers.figures import HalfLoad, Observed, SystemFigures, figures, half_load, own_processes, settled
from bench.peers.rounds import Measured
from bench.peers.task import PEERS, Programs, Task, lines_of_code
from signals.architecture import S3Endpoint
from signals.errors import MissingRequirement, PipelineError
from signals.near_free import build_near_free_model

ROOT = Path(__file__).parents[2]
FIGURES = SystemFigures("daft", 1, 60, 2000, 95.0, 100.0, 2.0, {"python": 14.0}, 1 << 20, None, None, 1.0)


def system(name: str, ratio: float, p99: float | None = None) -> SystemFigures:
    if p99 is None:
        return replace(FIGURES, system=name, images_per_second=100.0 * ratio)
    common, own = (HalfLoad(50.0, 600, p99 / 3, wait) for wait in (p99, 0.01 + p99))
    return replace(FIGURES, system=name, images_per_second=100.0 * ratio, common_half=common, own_half=own)


def test_speed_is_that_of_the_images_after_the_first_twentieth() -> None:
    second = 10**9
    completed = np.asarray([100 * second] * 6 + [(100 + n) * second for n in range(1, 95)], np.int64)
    assert settled(completed) == (100 * second, 94)
    bare = [Window(100, 1.0, 2.0, 15.0, 1.0), Window(100, 1.0, 3.0, 15.0, 1.0)]
    seen = Observed(90 * second, completed, 194 * second, own_processes())
    found = figures("x", 3, 7, seen, bare)
    assert found.images_per_second == pytest.approx(1.0)
    assert found.ratio == pytest.approx(0.4)
    assert found.first_image_seconds == pytest.approx(10.0)
    assert (found.images, found.round_number, found.lines_of_code) == (100, 3, 7)


def test_half_load_is_told_by_two_quantiles() -> None:
    assert half_load(2000.0, np.arange(101) / 100).p99_seconds == pytest.approx(0.99)


def test_ours_are_held_to_the_best_peer_of_their_kind() -> None:
    found = [
        system("daft", 0.97),
        system("nightly", 0.98),
        system("bytewax", 0.92, 0.092),
        system("faust", 0.93, 0.259),
        system("kappa", 0.91, 0.080),
    ]
    nightly, stream, wait, own_wait = peer_targets(found)
    assert nightly.met is True
    assert stream.measured == pytest.approx(0.91 / 0.93) and stream.met is False
    assert stream.unit == "of faust"
    assert wait.measured == pytest.approx(80 / 92) and wait.met is True
    assert wait.unit == own_wait.unit == "of bytewax"
    assert own_wait.measured == pytest.approx(90 / 102)  # which is not the other's share
    assert peer_targets([system("daft", 0.9)])[0].met is None  # ours was not measured
    assert peer_targets([]) == []
    plain = orjson.loads(orjson.dumps(as_plain(Measured(found))))
    assert plain["measured"][0]["ratio"] == pytest.approx(0.97)
    assert [t["met"] for t in plain["targets"]] == [True, False, True, True]


def test_systems_are_compared_round_by_round() -> None:
    # Medians of each by itself would be 1.00 and 1.01. Of the fourth round, in which ours was not measured,
    # and of the fifth, in which Daft was not, nothing is known.
    rounds = [
        replace(system(name, ratio), round_number=number)
        for name, ratios in (("daft", (0.89, 1.01, 1.05, 0.5)), ("nightly", (0.90, 1.00, 1.10)))
        for number, ratio in enumerate(ratios, 1)
    ]
    (nightly,) = peer_targets([*rounds, replace(system("nightly", 0.2), round_number=5)])
    assert nightly.measured == pytest.approx(0.90 / 0.89) and nightly.met is True


def test_a_target_that_is_not_met_or_not_measured_ends_a_checked_command() -> None:
    hold(peer_targets([system("daft", 0.97), system("nightly", 0.98)]))
    for found in ([system("daft", 0.98), system("nightly", 0.97)], [system("daft", 0.97)]):
        with pytest.raises(SystemExit) as ended:
            hold(peer_targets(found))
        assert ended.value.code == ExitCode.THRESHOLD_BREACHED


def test_a_peer_that_crashes_is_measured_once_more_and_the_crash_is_told() -> None:
    asked: list[tuple[str, int]] = []

    def observe(name: str, number: int) -> SystemFigures:
        asked.append((name, number))
        if name == "daft" and asked.count((name, number)) == 1 and number == 0:
            raise PipelineError("daft ended with code -11; its log is x.log")
        return system(name, 0.9)

    measured = Measured()
    measured.measure(observe, ["daft", "kappa"], 2, note=lambda _: None)
    assert asked == [("daft", 0), ("daft", 0), ("kappa", 0), ("kappa", 1), ("daft", 1)]
    assert [item.system for item in measured.found] == ["daft", "kappa", "kappa", "daft"]
    assert measured.failures == ["daft, round 1: daft ended with code -11"]
    assert as_plain(measured)["failures"] == measured.failures


@pytest.mark.parametrize(("name", "tries"), [("daft", 2), ("kappa", 1)])
def test_what_fails_for_good_is_raised_when_the_others_were_measured(name: str, tries: int) -> None:
    asked: list[str] = []

    def observe(name_: str, _number: int) -> SystemFigures:
        asked.append(name_)
        if name_ == name:
            raise PipelineError("it does not go")
        return system(name_, 0.9)

    measured = Measured()
    with pytest.raises(PipelineError, match="it does not go"):
        measured.measure(observe, [name, "bytewax"], 1, note=lambda _: None)
    assert asked == [name] * tries + ["bytewax"]
    assert [item.system for item in measured.found] == ["bytewax"]
    assert len(measured.failures) == tries


def test_lines_of_code_leave_out_comments_blanks_and_docstrings(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        '"""Two\n\nlines."""\n\n# why\nx = f(\n    1,\n)\n\n\ndef g():\n    """Doc."""\n    return "a"\n'
    )
    assert lines_of_code([path]) == 5


def test_every_peer_has_a_program_and_a_lock_with_hashes() -> None:
    programs = Programs(ROOT / "peers", ROOT / "no-such-folder")
    for peer in PEERS:
        assert 30 < programs.lines_of_code(peer) < 120
        lock = (ROOT / "peers" / "requirements" / f"{peer.name}.lock").read_text()
        assert "--hash=sha256:" in lock and "://" not in lock
        with pytest.raises(MissingRequirement, match=r"nox -s peers"):
            programs.command(peer)
    assert {peer.name for peer in PEERS} < set(SYSTEMS)


def test_a_task_says_all_that_a_program_needs_and_is_secret(tmp_path: Path) -> None:
    s3 = S3Endpoint("127.0.0.1:1", "key", "secret", "bucket")
    task = Task.of_model(build_near_free_model(), workers=2, batch=8, s3=s3, output=tmp_path)
    path = replace(task, keys=("a", "b")).save(tmp_path / "task.json")
    assert path.stat().st_mode & 0o777 == 0o600
    plain = orjson.loads(path.read_bytes())
    assert (plain["model_input"], plain["model_output"], plain["input_size"]) == ("images", "embedding", 224)
    assert Path(plain["model"]).is_file()
    assert plain["keys"] == ["a", "b"] and plain["s3"]["secret_key"] == "secret"


def test_what_is_wrong_with_the_options_is_said_before_anything_starts() -> None:
    for options, said in (
        (["--systems", "daft,flink"], "unknown flink"),
        (["--environments", "no-such-folder", "--systems", "daft"], "run nox -s peers"),
        (["--count", "3100", "--systems", "kappa"], "has 3000 images"),
        (["--json", "no-such-folder/x.json"], "there is no such folder"),
    ):
        done = CliRunner().invoke(cli, ["peers", *options])
        assert said in str(done.exception), done
