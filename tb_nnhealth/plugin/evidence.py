"""The series that fired a finding, reduced to few points, beside what the other layers did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tb_nnhealth.derive import BY_ID
from tb_nnhealth.findings import json_number
from tb_nnhealth.history import Run
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.arrays import f32, ints
from tb_nnhealth.plugin.layers import Layered, Part, layered, prefix_of
from tb_nnhealth.plugin.scalars import drawn_scale


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
        **_judged(finding, table.band),
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
    named = (finding["evidence"].get("tag"), finding["evidence"]["statistic"], finding["subject"])
    tag = next((name for name in named if isinstance(name, str) and name in run.scalars), None)
    if tag is None or not len(run.scalars[tag]):
        return None
    series = run.scalars[tag]
    columns = reduce.columns([series.steps], limit)
    column = columns.of(series.steps)
    shown = _shown(series.values, finding["evidence"]["direction"], column, len(columns))
    kept = shown >= 0
    low, high = reduce.extremes(series.values, column, len(columns))
    about_tag = tag == finding["evidence"]["statistic"] or finding["evidence"].get("tag") == tag
    return {
        "title": tag,
        "unit": finding["evidence"]["unit"] if about_tag else "",
        "scale": drawn_scale(series.values),
        "steps": ints(series.steps[shown[kept]]),
        "values_f32": f32(series.values[shown[kept]]),
        "low_f32": f32(low[kept]),
        "high_f32": f32(high[kept]),
        **(_judged(finding, None) if about_tag else {"healthy": None, "limit": None, "direction": None}),
        "others": None,
    }


def _judged(finding: Mapping[str, Any], band: tuple[float, float] | None) -> dict[str, Any]:
    judged = finding["evidence"]
    healthy = judged["healthy"] or (None if band is None else [json_number(edge) for edge in band])
    return {"healthy": healthy, "limit": judged["limit"], "direction": judged["direction"]}
