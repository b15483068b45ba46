"""Amounts of money, for people."""

from __future__ import annotations


def usd_text(usd: float) -> str:
    """``1,234.50 USD``; below 1 three digits: what a compressed day costs is small."""
    return f"{usd:,.2f} USD" if usd >= 1 or usd == 0 else f"{usd:#.3g} USD"
