"""The documentation is true: examples run, commands and options exist, links and pictures lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bench.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_examples_of_extending_run(tmp_path: Path) -> None:
    examples = blocks(ROOT / "docs" / "extending.md", "python")
    assert len(examples) == 4
    program = "\n\n".join(examples)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_of_a_page_exists(page: Path) -> None:
    text = page.read_text()
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(lkbench [^`]+)`", text)
    for line in lines:
        if not line.startswith("lkbench ") or line.split()[1].startswith("-"):
            continue
        words = shlex.split(line.partition(" > ")[0].partition("  #")[0])
        # Some pages write alternatives: lkbench run|report.
        for name in words[1].split("|"):
            assert name in COMMANDS, line
            command = COMMANDS[name].load()
            options = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
            if isinstance(command, click.Group):
                continue
            own = (
                words[2 : words.index("--")] if "--" in words else words[2:]
            )  # the rest: for another command
            for word in own:
                if word.startswith("--"):
                    assert word.partition("=")[0].rstrip(",") in {*options, "--help"}, line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_table_of_the_readme(name: str) -> None:
    table = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `lkbench ")]
    assert any(re.search(rf"`lkbench {name}[` ]", line) for line in table)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
