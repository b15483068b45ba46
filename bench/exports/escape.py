"""Text that a user's files brought along, made harmless for the format that it goes to."""

from __future__ import annotations

import html
import re

# What makes a spreadsheet take a cell for a formula; a tab or a line break before it changes nothing.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
# XML 1.0 has no way to write these, not even escaped.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$@-])")


def csv_cell(text: str) -> str:
    """A cell that a spreadsheet shows as text: formulas get an apostrophe in front."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no link, no mention, on one line."""
    one_line = " ".join(text.split())
    escaped = _MARKDOWN.sub(r"\\\1", html.escape(one_line, quote=False))
    return escaped.replace("://", ":&#47;&#47;").replace("www.", "www&#46;")


def xml_text(text: str) -> str:
    """Text without the characters that XML can't hold; the writer escapes the rest."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
