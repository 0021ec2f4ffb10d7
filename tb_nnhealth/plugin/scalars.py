"""The run's ordinary scalars, and the series of the records that are drawn with them, as charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.derive import norm
from tb_nnhealth.history import Run, Steps
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.arrays import f32, ints
from tb_nnhealth.plugin.heatmap import within
from tb_nnhealth.plugin.noise import smoothed
from tb_nnhealth.rules.tags import Metric, main_loss, role, series_of

Role = Literal["train", "val", "value"]
ChartScale = Literal["log", "linear"]

TAGS_LISTED = 10_000
SERIES_MOST = 8
"""Series in one chart."""
FEW = 8
"""With fewer points than this an average would say nothing."""
_LOG_RANGE = 100.0


@dataclass(frozen=True)
class Drawn:
    """One series of a chart: values float64, shape (n,), at ascending steps."""

    tag: str
    role: Role
    steps: Steps
    values: reduce.Doubles


def scalars(
    run: Run, tags: Sequence[str] = (), *, start: int | None = None, end: int | None = None, limit: int = 400
) -> dict[str, Any]:
    """Charts of ``tags``, or of loss, accuracy, learning rate and total gradient norm where none is named."""
    if tags:
        charts = [_chart(f"tag:{tag}", tag, [_logged(run, tag)], None, start, end, limit) for tag in tags]
    else:
        charts = [_chart(*chart, start, end, limit) for chart in _standard(run)]
    names = list(run.scalars)
    return {"tags": names[:TAGS_LISTED], "tags_left_out": max(0, len(names) - TAGS_LISTED), "charts": charts}


def _standard(run: Run) -> list[tuple[str, str, list[Drawn], ChartScale | None]]:
    charts: list[tuple[str, str, list[Drawn], ChartScale | None]] = [
        ("loss", "loss", losses(run), None),
        ("accuracy", "accuracy", _of_metric(run, "accuracy"), "linear"),
        ("learning-rate", "learning rate", _learning_rates(run), "linear"),
        ("gradient-norm", "gradient norm", _gradient_norms(run), "log"),
    ]
    return [chart for chart in charts if chart[2]]


def losses(run: Run) -> list[Drawn]:
    """The loss of the whole model in training and validation; what is not logged, from the criterion's own values.

    Where no loss stands for the whole model, all that are logged.
    """
    train, val = main_loss(run, "train"), main_loss(run, "val")
    found = [_logged(run, entry[0]) for entry in (train, val) if entry is not None]
    if train is None:
        found = [*_recorded(run, schema.LOSS, "loss"), *found]
    return found or _of_metric(run, "loss")


def _of_metric(run: Run, metric: Metric) -> list[Drawn]:
    """The scalars of one metric, training before validation."""
    drawn = [_logged(run, tag) for tag, series in series_of(run, metric) if len(series)]
    return sorted(drawn, key=lambda series: series.role == "val")[:SERIES_MOST]


def _logged(run: Run, tag: str) -> Drawn:
    series = run.scalars[tag]
    found = role(tag, run.name)
    phase: Role = found.phase or ("train" if found.metric in ("loss", "accuracy") else "value")
    return Drawn(tag, phase, series.steps, series.values)


def _recorded(run: Run, kind: str, title: str) -> list[Drawn]:
    """The mean of each row of ``kind``, named by watch and subject where there are several."""
    drawn = []
    for prefix, history in run.histories():
        table = history.table(kind, schema.MEAN)
        for i, subject in enumerate(table.subjects):
            measured = ~np.isnan(table.values[:, i])
            if measured.any():
                values = table.values[measured, i].astype(np.float64)
                name = f"{title} {prefix}{subject if len(table) > 1 else ''}".rstrip(" .")
                drawn.append(Drawn(name, "train" if kind == schema.LOSS else "value", table.steps[measured], values))
    return drawn


def _learning_rates(run: Run) -> list[Drawn]:
    """What the optimizers used, group by group, equal ones once; the logged scalar where nothing was watched."""
    found: list[Drawn] = []
    for series in _recorded(run, schema.LEARNING_RATE, "learning rate"):
        if not any(np.array_equal(series.values, other.values) for other in found):
            found.append(series)
    return found[:SERIES_MOST] or _of_metric(run, "lr")


def _gradient_norms(run: Run) -> list[Drawn]:
    """L2 norm of all gradients of a watch together, at each record that has any."""
    drawn = []
    for prefix, history in run.histories():
        table = norm(history, schema.GRADIENT)
        measured = ~np.isnan(table.values).all(axis=1) if len(table) else np.zeros(len(table.steps), bool)
        if measured.any():
            total = np.sqrt(np.nansum(np.square(table.values[measured].astype(np.float64)), axis=1))
            drawn.append(Drawn(f"gradient norm {prefix}".rstrip(" ."), "value", table.steps[measured], total))
    return drawn


def _chart(
    name: str,
    title: str,
    drawn: Sequence[Drawn],
    scale: ChartScale | None,
    start: int | None,
    end: int | None,
    limit: int,
) -> dict[str, Any]:
    if scale is None:
        scale = drawn_scale(np.concatenate([series.values for series in drawn]))
    return {
        "id": name,
        "title": title,
        "scale": scale,
        "series": [{"tag": s.tag, "role": s.role, **points(s.steps, s.values, start, end, limit)} for s in drawn],
    }


def points(steps: Steps, values: reduce.Doubles, start: int | None, end: int | None, limit: int) -> dict[str, Any]:
    """At most ``limit`` points: the last value of each, moving average, and the band of its noise (two sigma)."""
    kept = within(steps, start, end)
    steps, values = steps[kept], values[kept]
    columns = reduce.columns([steps], limit)
    column = columns.of(steps)
    last = np.searchsorted(column, np.arange(len(columns)), side="right") - 1
    finite = np.where(np.isfinite(values), values, np.nan)
    if len(steps) >= FEW:
        mean, sigma = smoothed(finite, column, len(columns))
    else:
        mean, sigma = finite[last], np.zeros(len(columns))
    low, high = reduce.extremes(values, column, len(columns))
    return {
        "steps": ints(steps[last]),
        "values_f32": f32(values[last]),
        "min_f32": f32(low),
        "max_f32": f32(high),
        "mean_f32": f32(mean),
        "low_f32": f32(mean - 2 * sigma),
        "high_f32": f32(mean + 2 * sigma),
    }


def drawn_scale(values: NDArray[np.float64]) -> ChartScale:
    """Logarithmic for positive values whose middle 98 % span more than two decades."""
    finite = values[np.isfinite(values)]
    if not finite.size or finite.min() <= 0:
        return "linear"
    low, high = np.percentile(finite, (1, 99))
    return "log" if high > _LOG_RANGE * low else "linear"
