"""A run as one row of the list: verdict, counts, worst finding, losses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tb_nnhealth.findings import SEVERITIES, json_number
from tb_nnhealth.history import Run
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.arrays import ints
from tb_nnhealth.plugin.scalars import Drawn, losses
from tb_nnhealth.source.base import Glimpse

SPARKLINE_POINTS = 64
SPARKLINE_DIGITS = 5
NOTHING = Glimpse()
_RANK = {"critical": 0, "warning": 1, "healthy": 2, "no-data": 3, "pending": 4}


def summary(run: Run, report: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a judged run."""
    findings = report["findings"]
    drawn = losses(run)
    train = next((series for series in drawn if series.role != "val"), None)
    val = next((series for series in drawn if series.role == "val"), None)
    sparkline = train or val
    return {
        "run": run.name,
        "verdict": report["verdict"],
        "counts": {s: sum(finding["severity"] == s for finding in findings) for s in SEVERITIES},
        "has_records": report["has_records"],
        "preflight": report["preflight"] is not None,
        "steps": report["steps"],
        "last_wall": report["last_wall"],
        "worst": _worst(findings),
        "statistic": findings[0]["statistic_id"] if findings else None,
        "train_loss": None if train is None else json_number(train.values[-1]),
        "val_loss": None if val is None else json_number(val.values[-1]),
        "error": None,
        "loss": None if sparkline is None else _sparkline(sparkline),
    }


def unjudged(name: str, error: str | None = None, known: Glimpse = NOTHING) -> dict[str, Any]:
    """The row of a run that waits for its turn ("pending"), or that could not be judged because of ``error``."""
    return {
        "run": name,
        "verdict": "pending" if error is None else "no-data",
        "counts": dict.fromkeys(SEVERITIES, 0),
        "has_records": known.has_records,
        "preflight": False,
        "steps": known.last_step,
        "last_wall": known.last_wall,
        "worst": None,
        "statistic": None,
        "train_loss": None,
        "val_loss": None,
        "error": error,
        "loss": None,
    }


def shown_first(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The run that the page begins with where nobody chose one: the worst that has records, else the worst."""
    ranked = sorted(rows, key=_severity)
    recorded = (row for row in ranked if row["has_records"] and row["verdict"] != "pending")
    first = next(recorded, ranked[0] if ranked else None)
    return None if first is None else first["run"]


def _severity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The worse a run, the less; of equals by name, numbers in it by their value."""
    counts = (-row["counts"][severity] for severity in reversed(SEVERITIES))
    pieces = re.split(r"(\d+)", row["run"].casefold())
    name = tuple((int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces)
    return (_RANK[row["verdict"]], *counts, name)


def _worst(findings: Any) -> dict[str, Any] | None:
    """The first of the severest findings; they stand root causes first."""
    if not findings:
        return None
    worst = max(findings, key=lambda finding: SEVERITIES.index(finding["severity"]))
    return {key: worst[key] for key in ("rule", "subject", "severity", "first_step")}


def _sparkline(series: Drawn) -> dict[str, Any]:
    columns = reduce.columns([series.steps], SPARKLINE_POINTS)
    last = np.searchsorted(columns.of(series.steps), np.arange(len(columns)), side="right") - 1
    return {
        "tag": series.tag,
        "steps": ints(series.steps[last]),
        "values": [json_number(float(f"{value:.{SPARKLINE_DIGITS}g}")) for value in series.values[last]],
    }
