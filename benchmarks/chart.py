"""The chart of what recording costs: bars on a logarithmic axis, a group for each training, as SVG.

Its colours follow the reader's preference for light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, LABELS, RIGHT = 860, 250, 84
ROW, BAR, HEAD, TOP, FOOT = 19, 12, 30, 50, 30
LOW, HIGH = 1e-3, 100.0
"""Ends of the axis, as shares of the bare step."""
TICKS = ((0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (1.0, "100 %"), (10.0, "1,000 %"), (100.0, "10,000 %"))
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 } .quiet { fill: #57606a; font-size: 11px } .title { font-size: 15px; font-weight: 600 }
.grid { stroke: #d0d7de } .spread { stroke: #24292f; stroke-width: 1.2 }
.ours { fill: #1a7f5a } .other { fill: #9aa4af }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .quiet { fill: #9198a1 } .grid { stroke: #3d444d } .spread { stroke: #e6edf3 }
  .ours { fill: #3fb98a } .other { fill: #6e7681 }
}
"""


def draw(told: Mapping[str, Any]) -> str:
    """The SVG of what ``benchmarks.overhead`` wrote as JSON: processor time added to a step, on the median."""
    y, parts = float(TOP), []
    for model in told["models"]:
        rows = _rows(model)
        if not rows:
            continue
        head = f'{escape(model["title"])}<tspan class="quiet" dx="8">bare step {model["bare_ms"]:.3g} ms</tspan>'
        parts.append(f'<text class="head" x="8" y="{y + 18:g}">{head}</text>')
        y += HEAD
        for label, shares, ours in rows:
            parts += _bar(y, label, shares, ours)
            y += ROW
        y += 8
    height = y + FOOT
    grid = [_tick(value, label, y) for value, label in TICKS]
    title = "Processor time that recording adds to a training step (logarithmic; whiskers: middle half of the rounds)"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
            f'role="img" aria-label="{title}">',
            f"<style>{STYLE}</style>",
            '<text class="title" x="8" y="22">What recording adds to a training step</text>',
            '<text class="quiet" x="8" y="39">Processor time as a share of the bare step, logarithmic; '
            "lines: the middle half of the rounds</text>",
            *grid,
            *parts,
            "</svg>\n",
        )
    )


def _rows(model: Mapping[str, Any]) -> list[tuple[str, Sequence[float], bool]]:
    along = [r for r in model["over_the_run"] if r["way"] != "A/A"]
    rounds = [r for r in model["results"] if r["way"] != "A/A"]
    return [(r["way"], r["processor"], r["way"].startswith("watch")) for r in (*along, *rounds)]


def _x(share: float) -> float:
    place = math.log(min(max(share, LOW), HIGH) / LOW) / math.log(HIGH / LOW)
    return LABELS + place * (WIDTH - LABELS - RIGHT)


def _bar(y: float, label: str, shares: Sequence[float], ours: bool) -> list[str]:
    low, middle, high = shares
    end, centre = _x(middle), y + ROW / 2
    name = f"tb_nnhealth, {label.removeprefix('watch, ')}" if ours else label
    written = "not told apart from 0" if high <= LOW else f"{middle:.1%}" if middle < 0.1 else f"{middle:.0%}"
    return [
        f'<text x="20" y="{centre + 4:g}">{escape(name)}</text>',
        f'<rect class="{"ours" if ours else "other"}" x="{LABELS}" y="{centre - BAR / 2:g}" '
        f'width="{max(1.0, end - LABELS):.1f}" height="{BAR}" rx="2"/>',
        f'<path class="spread" d="M{_x(low):.1f} {centre:g}H{_x(high):.1f}"/>',
        f'<text x="{max(end, _x(high)) + 6:.1f}" y="{centre + 4:g}">{written.replace("%", " %")}</text>',
    ]


def _tick(value: float, label: str, bottom: float) -> str:
    x = f"{_x(value):.1f}"
    line = f'<path class="grid" d="M{x} {TOP}V{bottom:g}"/>'
    return f'{line}<text class="quiet" x="{x}" y="{bottom + 16:g}" text-anchor="middle">{label}</text>'
