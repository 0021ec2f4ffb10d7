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
from tb_nnhealth.rules.evidence.losses import LossCurve, criterion_loss, scalar_loss, training_loss
from tb_nnhealth.rules.evidence.tags import Metric, role_in, series_of

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


Standard = tuple[str, str, list[Drawn], ChartScale | None]


def scalars(
    run: Run,
    tags: Sequence[str] = (),
    *,
    start: int | None = None,
    end: int | None = None,
    limit: int = 400,
    known: Sequence[Standard] | None = None,
) -> dict[str, Any]:
    """Charts of ``tags``, or of loss, accuracy, learning rate and total gradient norm where none is named.

    ``known``: what ``standard`` gave for the run, if it has been asked.
    """
    if tags:
        charts = [_chart(f"tag:{tag}", tag, [_logged(run, tag)], None, start, end, limit) for tag in tags]
    else:
        charts = [_chart(*chart, start, end, limit) for chart in (standard(run) if known is None else known)]
    names = list(run.scalars)
    return {"tags": names[:TAGS_LISTED], "tags_left_out": max(0, len(names) - TAGS_LISTED), "charts": charts}


def standard(run: Run) -> list[Standard]:
    """Id, title, series and scale of the charts that every run has, as far as it has data for them."""
    charts: list[Standard] = [
        ("loss", "loss", losses(run), None),
        ("accuracy", "accuracy", _of_metric(run, "accuracy"), "linear"),
        ("learning-rate", "learning rate", _learning_rates(run), "linear"),
        ("gradient-norm", "gradient norm", _gradient_norms(run), "log"),
    ]
    return [chart for chart in charts if chart[2]]


def losses(run: Run) -> list[Drawn]:
    """The training loss as the rules see it, and the validation loss; all losses where none is that of the model."""
    train, val = training_loss(run), scalar_loss(run, "val")
    found = [_curve(train, "train")] if train is not None else _criteria(run)
    if val is not None:
        found.append(_curve(val, "val"))
    return found or _of_metric(run, "loss")


def _criteria(run: Run) -> list[Drawn]:
    """The loss of each watch's criterion."""
    curves = [(prefix, criterion_loss(history)) for prefix, history in run.histories()]
    return [
        Drawn(f"{prefix}{curve.subject}", "train", curve.steps, curve.values)
        for prefix, curve in curves
        if curve is not None
    ]


def _curve(curve: LossCurve, phase: Role) -> Drawn:
    return Drawn(curve.subject, phase, curve.steps, curve.values)


def _of_metric(run: Run, metric: Metric) -> list[Drawn]:
    """The scalars of one metric, training before validation."""
    drawn = [_logged(run, tag) for tag, series in series_of(run, metric) if len(series)]
    return sorted(drawn, key=lambda series: series.role == "val")[:SERIES_MOST]


def _logged(run: Run, tag: str) -> Drawn:
    series = run.scalars[tag]
    found = role_in(run, tag)
    phase: Role = found.phase or ("train" if found.metric in ("loss", "accuracy") else "value")
    return Drawn(tag, phase, series.steps, series.values)


def _learning_rates(run: Run) -> list[Drawn]:
    """What the optimizers used, group by group, equal ones once; the logged scalar where nothing was watched."""
    found: list[Drawn] = []
    for prefix, history in run.histories():
        table = history.table(schema.LEARNING_RATE, schema.MEAN)
        for i, group in enumerate(table.subjects):
            measured = ~np.isnan(table.values[:, i])
            values = table.values[measured, i].astype(np.float64)
            name = f"learning rate {prefix}{group if len(table) > 1 else ''}".rstrip(" .")
            if len(values) and not any(np.array_equal(values, other.values) for other in found):
                found.append(Drawn(name, "value", table.steps[measured], values))
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
