"""Reads a page as a browser would, strictly: a tag that is not closed in order is an error."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "br", "line", "rect", "path", "circle", "input", "img", "use"}


class PageParser(HTMLParser):
    """Tags with their attributes, in order, and all text outside of style sheet and script."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    @classmethod
    def of(cls, path: Path) -> PageParser:
        """The page of a file. AssertionError if it is not well formed."""
        parser = cls()
        parser.feed(path.read_text(encoding="utf-8"))
        assert parser.open == []
        return parser

    @property
    def tag_names(self) -> set[str]:
        return {name for name, _ in self.tags}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data
