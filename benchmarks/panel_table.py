"""The table of what ``benchmarks/panel.py`` measured, as it prints it and as docs/performance.md shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table(told: Mapping[str, Any]) -> str:
    logs, machine = told["logs"], told["machine"]
    sizes = {name: f"{size / 1e6:,.0f} MB" for name, size in logs["bytes"].items()}
    ours = (
        f"{logs['runs']} runs, one of {logs['layers']:,} layers and {logs['steps']:,} steps, {logs['records']:,} of "
        f"them recorded ({sizes['ours']} in all); TensorBoard's own tabs: {logs['peer_layers']} layers and "
        f"{logs['peer_steps']} steps of PyTorch's writer, norms at every step and histograms at every tenth "
        f"({sizes['theirs']})."
    )
    lines = ["| | measured | goal | |", "| --- | ---: | ---: | --- |", *map(_line, told["rows"])]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, load at the end {machine['load_average']}; headless "
        f"Chromium {told['browser']} without a GPU. Python {machine['python']}, tensorboard "
        f"{machine['packages']['tensorboard']}. `make bench-panel`"
    )
    return "\n\n".join((ours, "\n".join(lines), where))


def _line(row: Mapping[str, Any]) -> str:
    goal, met = "", ""
    if row["goal"] is not None:
        goal = f"≤ {_number(row['goal'])} {row['unit']}"
        met = "met" if row["value"] <= row["goal"] else "**missed**"
    return f"| {row['what']} | {_number(row['value'])} {row['unit']} | {goal} | {met} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
