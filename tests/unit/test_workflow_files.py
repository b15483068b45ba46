"""The GitHub workflow, the composite action and the page about them say what the command line understands.

Read as text: no YAML parser is among the dependencies, and these two files need none.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from bench.cli import COMMANDS
from bench.commands.ci import ci
from bench.exit_codes import MEANINGS, ExitCode
from bench.gate.threshold import known_metrics, parse_threshold
from bench.metrics import measure
from tests.unit.synthetic_result import synthetic_result

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
WORKFLOW = ROOT / ".github" / "workflows" / "lkbench.yml"
SCRIPT = re.compile(r"^( +)run: \|\n((?:\1 +.*\n)+)", re.MULTILINE)


def scripts(file: Path) -> list[str]:
    found = [block for _, block in SCRIPT.findall(file.read_text())]
    assert len(found) == file.read_text().count("run: ")
    return found


def test_every_step_is_shell_and_every_option_in_it_exists() -> None:
    commands = []
    for script in scripts(ACTION):
        subprocess.run(["bash", "-n", "-c", script], check=True)
        commands += [shlex.split(line) for line in script.splitlines() if "lkbench " in line]
    assert commands
    for _, name, *words in commands:
        options = {option for parameter in COMMANDS[name].load().params for option in parameter.opts}
        given = words[: words.index("--")] if "--" in words else words
        assert {word for word in given if word.startswith("--")} <= options


def test_no_input_is_pasted_into_a_script() -> None:
    assert not any("${{" in script for script in scripts(ACTION))


@pytest.mark.parametrize("file", [ACTION, WORKFLOW], ids=lambda file: file.name)
def test_actions_of_others_are_pinned_to_a_major_version_and_indents_are_spaces(file: Path) -> None:
    text = file.read_text()
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(name == "./" or re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used)
    assert "\t" not in text
    assert all((len(line) - len(line.lstrip())) % 2 == 0 for line in text.splitlines())


def test_the_workflow_and_the_page_give_the_action_inputs_that_it_has() -> None:
    declared = re.search(r"^inputs:\n((?:  .*\n)+)", ACTION.read_text(), re.MULTILINE)
    assert declared is not None
    inputs = set(re.findall(r"^  ([a-z-]+):", declared[1], re.MULTILINE))
    assert set(re.findall(r"inputs\.([a-z-]+)", ACTION.read_text())) == inputs
    for page in (WORKFLOW, ROOT / "docs" / "ci.md"):
        given = re.search(r"uses: \./\n +with:\n((?: +[a-z-]+: .*\n)+)", page.read_text())
        assert given is not None
        assert set(re.findall(r"^ +([a-z-]+):", given[1], re.MULTILINE)) <= inputs


def test_the_page_lists_every_exit_code() -> None:
    rows = "".join(f"| {code.value} | {MEANINGS[code]} |\n" for code in ExitCode)
    assert f"|--:|---|\n{rows}\n" in (ROOT / "docs" / "ci.md").read_text()


def test_the_thresholds_of_this_project_and_of_the_page_are_understood() -> None:
    known = known_metrics(
        {m.id: m.definition for m in measure(synthetic_result("a", [0.01]))}, ["lambda", "kappa"]
    )
    project = (ROOT / "pyproject.toml").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    for text in (project, example):
        thresholds = tomllib.loads(text)["tool"]["lkbench"]["gate"]["thresholds"]
        assert thresholds
        for threshold in thresholds:
            parse_threshold(threshold, known)


def test_the_default_of_the_action_is_that_of_the_command() -> None:
    (replicates,) = [parameter.default for parameter in ci.params if parameter.name == "replicates"]
    assert f'default: "{replicates}"' in ACTION.read_text()
