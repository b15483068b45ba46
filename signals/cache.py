"""Where downloads and everything derived from them live: outside the checkout, shared by all runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """The cache folder: ``$LKBENCH_CACHE``, else ``$XDG_CACHE_HOME/lkbench``, else ``~/.cache/lkbench``."""
    if explicit := os.environ.get("LKBENCH_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lkbench"
