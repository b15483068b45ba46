"""Files that others read while they are written anew: they see the old one or the new one, whole."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``. Raises OSError; whatever was there is still there then."""
    _replace(path, data, 0o666)  # less what the umask takes, as with any new file


def replace_secret(path: Path, text: str) -> Path:
    """As :func:`replace_file`, for a file that nobody but its owner may read, whatever the umask and whatever
    was there. Returns ``path``."""
    _replace(path, text.encode(), 0o600)
    return path


def _replace(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a process that had this id and was killed; its mode may differ
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
