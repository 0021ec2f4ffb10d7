"""docs/ways.md names every way that is tried."""

from __future__ import annotations

from tests.ways.__main__ import DOCUMENT, document


def test_document_is_not_stale() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert document(text) == text, "stale: run python -m tests.ways"
