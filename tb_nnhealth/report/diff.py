"""Two runs beside each other: findings that are new, gone and common, and their key scalars."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tb_nnhealth.findings import SEVERITIES, json_number
from tb_nnhealth.history import Run, Series
from tb_nnhealth.report.identity import identities
from tb_nnhealth.rules.evidence.tags import Metric, role_in

SCHEMA = 1


class Side(NamedTuple):
    """A run, and its report as ``build`` made it."""

    run: Run
    report: dict[str, Any]


def diff(first: Side, second: Side) -> dict[str, Any]:
    """The JSON object of ``nnhealth diff --format json``.

    A finding is the same in both runs where rule, subject and spell are. ``new`` are those of ``second`` alone, in
    its order; ``gone`` those of ``first`` alone; ``common`` has both.
    """
    before, after = _by_identity(first.report), _by_identity(second.report)
    return {
        "schema": SCHEMA,
        "runs": [{key: side.report[key] for key in ("run", "verdict", "steps", "summary")} for side in (first, second)],
        "new": [finding for key, finding in after.items() if key not in before],
        "gone": [finding for key, finding in before.items() if key not in after],
        "common": [{"first": before[key], "second": finding} for key, finding in after.items() if key in before],
        "scalars": _scalars(first.run, second.run),
    }


def worse(found: dict[str, Any], severity: str) -> bool:
    """Whether the second run has a finding at least as severe that the first has not, or has less severely."""
    least = SEVERITIES.index(severity)
    news = [SEVERITIES.index(finding["severity"]) for finding in found["new"]]
    for pair in found["common"]:
        before, after = (SEVERITIES.index(pair[side]["severity"]) for side in ("first", "second"))
        news += [after] if after > before else []
    return max(news, default=-1) >= least


def _by_identity(report: dict[str, Any]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(key[1:]): finding for key, finding in zip(identities(report), report["findings"], strict=True)}


def _scalars(first: Run, second: Run) -> list[dict[str, Any]]:
    """The tags that stand for a loss, an accuracy, a rate or the like in either run."""
    rows = []
    for tag in sorted({*first.scalars, *second.scalars}):
        owner = first if tag in first.scalars else second
        found = role_in(owner, tag)
        if found.metric is not None:
            sides = [_told(run.scalars.get(tag), found.metric) for run in (first, second)]
            rows.append(
                {"tag": tag, "metric": found.metric, "phase": found.phase, "first": sides[0], "second": sides[1]}
            )
    return rows


def _told(series: Series | None, metric: Metric) -> dict[str, Any] | None:
    """Last and best value of a tag; the best is the greatest accuracy, of all else the least."""
    if series is None or not len(series):
        return None
    steps, values = series.steps, series.values
    told = {"points": len(steps), "last": json_number(float(values[-1])), "last_step": int(steps[-1])}
    if np.isfinite(values).any() and metric != "lr":
        finite = np.where(np.isfinite(values), values, -np.inf if metric == "accuracy" else np.inf)
        place = int(finite.argmax() if metric == "accuracy" else finite.argmin())
        told |= {"best": json_number(float(values[place])), "best_step": int(steps[place])}
    return told
