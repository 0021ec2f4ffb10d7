"""``python -m tests.ways``: writes the table of the ways of training into docs/ways.md."""

from __future__ import annotations

from pathlib import Path

from tests.ways.catalogue import WAYS

DOCUMENT = Path(__file__).parents[2] / "docs" / "ways.md"
BEGIN, END = "<!-- begin: python -m tests.ways -->\n", "<!-- end -->\n"


def document(text: str) -> str:
    """``text`` with the table as it should be."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END, 1)[1]


def table() -> str:
    groups: dict[str, list[str]] = {}
    for way in WAYS.values():
        groups.setdefault(way.group, []).append(way.name)
    lines = [f"{len(WAYS)} ways:", "", "| group | way |", "| --- | --- |"]
    lines += [f"| {group} | {name} |" for group, names in groups.items() for name in names]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text("utf-8")), "utf-8")
