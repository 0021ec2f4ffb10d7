"""How the magnitudes of one tensor lie over time: the recorded exponent counts as shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.history import History, Steps
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.arrays import f32, ints

Counts = NDArray[np.signedinteger[Any]]


def distribution(history: History, kind: str, subject: str, limit: int) -> dict[str, Any] | None:
    """The distribution of |x| in at most ``limit`` columns, counts of records in one column added; None without any."""
    steps, counts = history.histograms(kind, subject)
    if not len(steps):
        return None
    columns = reduce.columns([steps], limit)
    edges = np.searchsorted(columns.of(steps), np.arange(len(columns)))
    counts = np.add.reduceat(counts.astype(np.int64), edges, axis=0)
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / total
    return {
        "steps": ints(columns.starts),
        "exponent_low": schema.EXPONENT_LOW,
        "shares_f32": f32(shares[:, 1:-1]),
        "zero_f32": f32(shares[:, 0]),
        "non_finite_f32": f32(shares[:, -1]),
        "mean_f32": f32(mean_magnitude(counts)),
        "p5_f32": f32(percentile(counts, 0.05)),
        "p95_f32": f32(percentile(counts, 0.95)),
        "max_f32": f32(_greatest(history, kind, subject, columns)),
    }


def mean_magnitude(counts: Counts) -> reduce.Doubles:
    """Mean of |x| over the finite elements, each at the middle of its bin; NaN where there are none."""
    middles = np.concatenate(([0.0], 1.5 * 2.0 ** np.arange(schema.EXPONENT_LOW, schema.EXPONENT_HIGH + 1)))
    finite = counts[:, :-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(finite @ middles / finite.sum(axis=1))


def percentile(counts: Counts, share: float) -> reduce.Doubles:
    """The magnitude below which ``share`` of the finite elements lie, log-linear within its bin; 0 among the zeros."""
    finite = counts[:, :-1]
    below = np.cumsum(finite, axis=1)
    wanted = share * below[:, -1]
    found = np.full(len(counts), np.nan)
    for t in np.flatnonzero(below[:, -1] > 0):
        at = int(np.searchsorted(below[t], wanted[t], side="left"))
        if at == 0:
            found[t] = 0.0
            continue
        before = below[t, at - 1]
        found[t] = 2.0 ** (schema.EXPONENT_LOW + at - 1 + (wanted[t] - before) / finite[t, at])
    return found


def _greatest(history: History, kind: str, subject: str, columns: reduce.Columns) -> reduce.Doubles:
    """Greatest |x| of the records within each column, from the table of minima and maxima."""
    low, high = history.table(kind, schema.MIN), history.table(kind, schema.MAX)
    if subject not in low.subjects:
        return np.full(len(columns), np.nan)
    i = low.subjects.index(subject)
    greatest = np.fmax(np.abs(low.values[:, i]), np.abs(high.values[:, i])).astype(np.float64)
    return _at(low.steps, greatest, columns)


def _at(steps: Steps, values: reduce.Doubles, columns: reduce.Columns) -> reduce.Doubles:
    inside = (steps >= columns.starts[0]) & (steps <= columns.last_step)
    return reduce.extremes(values[inside], columns.of(steps[inside]), len(columns))[1]
