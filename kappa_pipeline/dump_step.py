"""Which step a nightly dump is in: told by its process to the arm that waits for it, through a file."""

from __future__ import annotations

from pathlib import Path

from signals.whole_file import replace_file


def tell_step(arm_dir: Path, day: int, name: str) -> None:
    """The dump of ``day`` begins the step ``name``."""
    path = _file(arm_dir, day)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, name.encode())


def last_step(arm_dir: Path, day: int) -> str:
    """Name of the step that the dump of ``day`` is in, or ended in; "" before the first."""
    try:
        return _file(arm_dir, day).read_text()
    except FileNotFoundError:
        return ""


def _file(arm_dir: Path, day: int) -> Path:
    return arm_dir / "dumps" / f"day={day}.step"
