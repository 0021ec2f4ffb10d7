"""Pieces of a document that a command writes: what stands between ``<!-- name: COMMAND -->`` and ``<!-- end -->``."""

from __future__ import annotations

import re
from pathlib import Path


def write_piece(path: Path, name: str, piece: str) -> None:
    path.write_text(replaced(path, name, piece), "utf-8")


def replaced(path: Path, name: str, piece: str) -> str:
    """The document's text with ``piece`` in place of what stands under ``name``."""
    pattern = re.compile(rf"(<!-- {name}:[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)
    text = path.read_text("utf-8")
    if not pattern.search(text):
        raise SystemExit(f"{path}: expected <!-- {name}: COMMAND --> … <!-- end -->, found none")
    return pattern.sub(lambda found: f"{found[1]}\n{piece}\n\n{found[2]}", text)
