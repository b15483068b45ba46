"""The content security policy of the page: its own style sheet and script by hash, and nothing else."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Assets:
    """What the page brings along."""

    style: str
    script: str

    @classmethod
    def load(cls) -> Assets:
        """The files that ship with the package."""
        folder = files("reports") / "templates"
        return cls(*((folder / name).read_text(encoding="utf-8") for name in ("style.css", "report.js")))

    @property
    def policy(self) -> str:
        """For the page's ``<meta>``. Images may only be part of the page itself (the decision map)."""
        return (
            f"default-src 'none'; style-src '{_hash(self.style)}'; script-src '{_hash(self.script)}'; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        )


def style_policy(style: str) -> str:
    """The policy of a page without script and pictures, whose only asset is this style sheet."""
    return f"default-src 'none'; style-src '{_hash(style)}'; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
