"""The series that fired a finding, reduced to few points, beside what the other layers did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tb_nnhealth.derive import BY_ID, Statistic
from tb_nnhealth.findings import json_number
from tb_nnhealth.history import Run
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.arrays import f32, ints
from tb_nnhealth.plugin.layers import Layered, Part, layered, prefix_of
from tb_nnhealth.plugin.scalars import Drawn, drawn_scale, losses

LOSS_UNIT = "unit of the loss"
"""The unit in which rules judge a loss as it was logged."""
UNLIMITED = {"limit": None, "direction": None}


def evidence(run: Run, finding: Mapping[str, Any], *, limit: int = 400) -> dict[str, Any] | None:
    """The chart of one finding of the report, or None where it speaks of nothing that has a series."""
    statistic = BY_ID.get(finding["statistic_id"] or "")
    if statistic is not None:
        chart = _of_layers(run, layered(run, statistic), finding, limit)
        if chart is not None:
            return chart
    return _of_scalar(run, finding, limit)


def _of_layers(run: Run, table: Layered, finding: Mapping[str, Any], limit: int) -> dict[str, Any] | None:
    series = _own_series(run, table, finding)
    if series is None:
        return None
    part, values, own = series
    columns = reduce.columns([part.steps], limit)
    column = columns.of(part.steps)
    shown = _shown(values, finding["evidence"]["direction"], column, len(columns))
    kept = shown >= 0
    same = _judges(finding, table.statistic)
    low, high = reduce.extremes(values, column, len(columns))
    others = _others(part, [i for i in range(len(part.layers)) if i not in own], columns)
    return {
        "title": table.statistic.title,
        "unit": table.statistic.unit,
        "scale": table.statistic.scale,
        "steps": ints(part.steps[shown[kept]]),
        "values_f32": f32(values[shown[kept]]),
        "low_f32": f32(low[kept]),
        "high_f32": f32(high[kept]),
        **(_limited(finding) if same else UNLIMITED),
        "healthy": (finding["evidence"]["healthy"] if same else None) or [json_number(edge) for edge in table.band],
        "others": None if others is None else {name: f32(band[kept]) for name, band in others.items()},
    }


def _own_series(run: Run, table: Layered, finding: Mapping[str, Any]) -> tuple[Part, reduce.Doubles, list[int]] | None:
    """The part of the finding's watch, the finding's own series, and the part's layers it belongs to.

    A subject that is a parameter or a layer has its own series; a group of layers has that of its worst.
    """
    subject = finding["subject"]
    for part, (watch, history) in zip(table.parts, run.watches.items(), strict=True):
        prefix = prefix_of(run, watch)
        names = [layer.name for layer in part.layers]
        own = [i for i, name in enumerate(names) if name in finding["layers"] or name == subject]
        if not own:
            continue
        exact = table.statistic.table(history)
        subjects = [prefix + name for name in exact.subjects]
        if subject in subjects:
            return part, exact.values[:, subjects.index(subject)].astype(np.float64), own
        speaking = [names.index(finding["layer"])] if finding["layer"] in names else own
        if len(part.steps):
            worst = np.asarray(speaking)[np.argmax(part.far[:, speaking], axis=1)]
            return part, part.values[np.arange(len(part.steps)), worst].astype(np.float64), own
    return None


def _shown(values: reduce.Doubles, direction: str, column: Any, count: int) -> Any:
    """The record that each point shows: the greatest where the limit lies above, else the least."""
    far = values if direction == "above" else -values
    far = np.where(np.isnan(values), reduce.MISSING, np.maximum(far, reduce.SETTLED))
    return reduce.worst(far[:, None], column, count)[:, 0]


def _others(part: Part, others: list[int], columns: reduce.Columns) -> dict[str, reduce.Doubles] | None:
    """Median, 5 % and 95 % over the layers in ``others`` within each column, or None without any."""
    if not others:
        return None
    found = np.full((3, len(columns)), np.nan)
    edges = np.searchsorted(columns.of(part.steps), np.arange(len(columns) + 1))
    for i in range(len(columns)):
        values = part.values[edges[i] : edges[i + 1], others]
        values = values[np.isfinite(values)]
        if values.size:
            found[:, i] = np.percentile(values, (50, 5, 95))
    return {"median_f32": found[0], "low_f32": found[1], "high_f32": found[2]}


def _of_scalar(run: Run, finding: Mapping[str, Any], limit: int) -> dict[str, Any] | None:
    """The scalar, or the criterion's loss, that the finding is about."""
    judged = finding["evidence"]
    drawn = next((s for name in (finding["subject"], judged["statistic"]) for s in _named(run, name)), None)
    if drawn is None:
        return None
    columns = reduce.columns([drawn.steps], limit)
    column = columns.of(drawn.steps)
    shown = _shown(drawn.values, judged["direction"], column, len(columns))
    kept = shown >= 0
    low, high = reduce.extremes(drawn.values, column, len(columns))
    same = judged["unit"] == LOSS_UNIT or judged["statistic"] == drawn.tag
    return {
        "title": drawn.tag,
        "unit": judged["unit"] if same else "",
        "scale": drawn_scale(drawn.values),
        "steps": ints(drawn.steps[shown[kept]]),
        "values_f32": f32(drawn.values[shown[kept]]),
        "low_f32": f32(low[kept]),
        "high_f32": f32(high[kept]),
        **(_limited(finding) if same else UNLIMITED),
        "healthy": judged["healthy"] if same else None,
        "others": None,
    }


def _named(run: Run, name: str) -> list[Drawn]:
    series = run.scalars.get(name)
    if series is not None and len(series):
        return [Drawn(name, "value", series.steps, series.values)]
    return [drawn for drawn in losses(run) if drawn.tag == name]


def _limited(finding: Mapping[str, Any]) -> dict[str, Any]:
    return {"limit": finding["evidence"]["limit"], "direction": finding["evidence"]["direction"]}


def _judges(finding: Mapping[str, Any], statistic: Statistic) -> bool:
    """Whether the finding's limit is one on ``statistic`` itself, and not on something derived from it.

    The rule measured it under the same name, or in the same unit, which "1" says nothing of.
    """
    judged = finding["evidence"]
    same_unit = judged["unit"] == statistic.unit != "1"
    return bool(same_unit or judged["statistic"].replace("_", "-").replace(" ", "-") == statistic.id)
