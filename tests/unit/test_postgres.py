from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.services.postgres import binaries_dir, copy_server


@pytest.mark.parametrize("program", ["initdb", "postgres"])
def test_a_copied_server_finds_its_libraries(program: str, tmp_path: Path) -> None:
    """As root, from a checkout that other users can't reach, the server runs from a copy."""
    copied = copy_server(binaries_dir(), tmp_path)
    done = subprocess.run([copied / program, "--version"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "PostgreSQL" in done.stdout
