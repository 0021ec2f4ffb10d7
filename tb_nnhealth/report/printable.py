"""Names from a log as text of one line: they are data from strangers, and a terminal obeys control characters."""

from __future__ import annotations

import re
from typing import Any

_UNUSUAL = re.compile(r"[^ -~]")


def printable(text: str) -> str:
    """``text`` with control characters, line ends, marks of direction and lone surrogates escaped: "\\x1b", "\\n"."""
    return text if text.isprintable() else _UNUSUAL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else found[0].encode("unicode_escape").decode("ascii")


def all_printable(value: Any) -> Any:
    """A report, or a part of it, with every text in it ``printable``."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: all_printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [all_printable(item) for item in value]
    return value
