"""Parts of a rule's page, which is markdown under fixed headings."""

from __future__ import annotations

import re

HEADINGS = (
    "What it detects",
    "Why it matters",
    "How it is computed",
    "What to try",
    "When it is harmless",
    "References",
)
_LINK = re.compile(r"\[([^\]]+)\]\((https?://[^)\s]+)\)")


def section(page: str, heading: str) -> str:
    """The text beneath ``## heading``, or "" where the page has none."""
    match = re.search(rf"^## {re.escape(heading)}\s*\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return match[1].strip() if match else ""


def why_it_matters(page: str) -> str:
    """The first paragraph of "Why it matters", on one line."""
    return " ".join(section(page, "Why it matters").split("\n\n")[0].split())


def references(page: str) -> list[dict[str, str]]:
    """The links of "References"."""
    return [{"title": title, "url": url} for title, url in _LINK.findall(section(page, "References"))]
