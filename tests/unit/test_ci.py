from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.ci.plan import RUN, order_of_runs, run_arguments
from bench.cli import main
from bench.exit_codes import ExitCode
from signals.errors import ConfigurationError
from tests.unit.synthetic_result import INFERENCE, synthetic_result, write_run

QUIET = [0.0100, 0.0101, 0.0099, 0.01005]
THRESHOLD = f"{INFERENCE} <= +3 % vs base"
# What stands for `lkbench run` of a checkout: it puts the next prepared run where --output says.
COPY = """
for last; do :; done
mkdir -p "$last"
cp -r "PREPARED/$(cat side)-$(ls "$last" | wc -l)" "$last/"
"""


def git(repository: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(repository), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(repository: Path, side: str, script: str) -> None:
    (repository / "side").write_text(side)
    (repository / "run.sh").write_text(script)
    (repository / "pyproject.toml").write_text(f"[tool.lkbench.gate]\nthresholds = ['{THRESHOLD}']\n")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", side)
    git(repository, "tag", side)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three commits: base, the same, and one with a slower stage; a run of each is ready to be copied."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    script = COPY.replace("PREPARED", str(tmp_path / "prepared"))
    (folder / "copy.sh").write_text(script)
    for side, factor in (("base", 1.0), ("equal", 1.0), ("slower", 1.2)):
        commit(folder, side, script)
        for n, seconds in enumerate(QUIET):
            write_run(tmp_path / "prepared", synthetic_result(f"{side}-{n}", [factor * seconds]))
    commit(folder, "fails", "echo no such signal; exit 5")
    commit(folder, "interrupted", "kill -INT $PPID; exec sleep 30")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    return folder


def ci(tmp_path: Path, *arguments: str) -> int | str | None:
    fixed = ["--command", "sh run.sh", "--prepare", "", "--output", str(tmp_path / "runs")]
    with pytest.raises(SystemExit) as stopped:
        main(["ci", "--base", "base", *fixed, *arguments])
    return stopped.value.code


def test_replicates_of_both_sides_take_turns() -> None:
    assert order_of_runs(4) == ["base", "head", "head", "base", "base", "head", "head", "base"]
    assert order_of_runs(1) == ["base", "head"]


def test_the_command_of_a_run_keeps_one_replicate_and_its_folder_whatever_the_user_asks_for() -> None:
    made = run_arguments(RUN, ["--day", "20s", "--replicates", "9"], Path("out"))
    assert made == [
        ".nox/env/bin/lkbench",
        "run",
        *("--day", "20s", "--replicates", "9"),
        *("--replicates", "1", "--output", "out"),
    ]
    with pytest.raises(ConfigurationError, match="split into words"):
        run_arguments("sh 'run", [], Path("out"))


def test_a_regression_fails_and_an_equal_commit_passes(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ci(tmp_path, "--head", "slower") == ExitCode.REGRESSION
    assert "REGRESSED" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs").iterdir()
    summary = (folder / "summary.md").read_text()
    assert (tmp_path / "step.md").read_text() == summary
    assert "**REGRESSED**" in summary
    assert f"| `{INFERENCE}` |" in summary
    assert 'failures="1"' in (folder / "junit.xml").read_text()
    assert sorted(log.stem for log in (folder / "logs").iterdir())[:3] == ["01-base", "02-head", "03-head"]

    assert ci(tmp_path, "--head", "equal", "--", "--day", "20s") == ExitCode.OK
    assert git(repository, "worktree", "list").count("\n") == 1
    assert list((tmp_path / "cache" / "ci").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--head", "fails"], ExitCode.PIPELINE_ERROR, "no such signal"),
        (["--head", "interrupted"], ExitCode.INTERRUPTED, "interrupted"),
        (["--head", "nowhere"], ExitCode.BAD_CONFIGURATION, "with the whole history"),
        (["--head", "equal", "-t", "agrement == 1"], ExitCode.BAD_CONFIGURATION, "do you mean agreement"),
        (["--head", "equal", "--replicates", "1"], ExitCode.NOT_DECIDABLE, ""),
        (["--head", "equal", "--prepare", "no-such-nox"], ExitCode.MISSING_REQUIREMENT, "pip install nox"),
    ],
)
def test_exit_codes_and_nothing_left_behind(
    arguments: Sequence[str],
    code: ExitCode,
    words: str,
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ci(tmp_path, *arguments) == code
    assert words in " ".join(capsys.readouterr().err.split())
    assert git(repository, "worktree", "list").count("\n") == 1


def test_an_invalid_run_ends_the_job_and_says_what_is_broken(repository: Path, tmp_path: Path) -> None:
    result = synthetic_result("invalid-0", [0.01])
    result["validity"].update(valid=False, verdict="INVALID")
    result["validity"]["rules"][0]["ok"] = False
    write_run(tmp_path / "prepared", result)
    commit(repository, "invalid", (repository / "copy.sh").read_text() + "exit 6\n")
    assert ci(tmp_path, "--head", "invalid") == ExitCode.INVALID_RUN
    (folder,) = (tmp_path / "runs").iterdir()
    assert len(list((folder / "logs").iterdir())) == 2
    assert result["validity"]["rules"][0]["id"] in (folder / "junit.xml").read_text()
