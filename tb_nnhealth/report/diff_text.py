"""Two runs beside each other as text for a terminal."""

from __future__ import annotations

import textwrap
from typing import Any

from tb_nnhealth.report.printable import all_printable
from tb_nnhealth.report.tally import span

WIDTH = 100
_SIGNS = {"new": "+", "gone": "-", "common": "="}


def render(found: dict[str, Any]) -> str:
    """Verdicts, then findings with ``+`` for new, ``-`` for gone and ``=`` for common, then the key scalars."""
    found = all_printable(found)
    lines = [f"{run['verdict']:<8}  {run['run']}  ({run['steps']:,} steps)" for run in found["runs"]]
    lines.append("")
    for kind, sign in _SIGNS.items():
        for entry in found[kind]:
            lines += _pair(sign, entry) if kind == "common" else _finding(sign, entry)
    if not any(found[kind] for kind in _SIGNS):
        lines.append("No findings in either run.")
    if found["scalars"]:
        lines += ["", *_scalars(found["scalars"])]
    counts = ", ".join(f"{len(found[kind])} {kind}" for kind in _SIGNS)
    return "\n".join([*lines, "", f"findings: {counts}"]) + "\n"


def _finding(sign: str, finding: dict[str, Any]) -> list[str]:
    where = f"  {finding['subject']}" if finding["subject"] else ""
    head = f"{sign} {finding['severity']:<8}  {finding['rule']}{where}  {span(finding)}"
    return [head, *textwrap.wrap(finding["message"], WIDTH, initial_indent="    ", subsequent_indent="    ")]


def _pair(sign: str, pair: dict[str, Any]) -> list[str]:
    before, after = pair["first"], pair["second"]
    where = f"  {after['subject']}" if after["subject"] else ""
    changed = after["severity"] != before["severity"]
    severity = f"{before['severity']} → {after['severity']}" if changed else after["severity"]
    return [f"{sign} {severity:<8}  {after['rule']}{where}  {span(before)} → {span(after)}"]


def _scalars(rows: list[dict[str, Any]]) -> list[str]:
    """A table: tag, then for each run its best and its last value, with their steps."""
    cells = [["", "best", "", "last", ""]]
    cells += [[row["tag"], _at(row["first"], "best"), _at(row["second"], "best"),
               _at(row["first"], "last"), _at(row["second"], "last")] for row in rows]  # fmt: skip
    widths = [max(len(line[i]) for line in cells) for i in range(5)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _at(side: dict[str, Any] | None, what: str) -> str:
    if side is None or what not in side:
        return "–"
    value = side[what]
    return f"{value if isinstance(value, str) else format(value, '.4g')} @{side[f'{what}_step']:,}"
