"""The ranks of a distributed job side by side: loss, own time, weights and batches against rank 0's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.findings import json_number
from tb_nnhealth.history import History, Run
from tb_nnhealth.plugin import reduce
from tb_nnhealth.plugin.arrays import f32, ints

RANKS_MOST = 512
POINTS = 96
WARM_UP = 3
"""Records whose times are those of starting, not of training."""


def has_ranks(run: Run) -> bool:
    """Whether any watch recorded how its ranks compare."""
    return any(len(history.rows(kind)) for history in run.watches.values() for kind in _KINDS)


_KINDS = (schema.RANK_LOSS, schema.RANK_SECONDS, schema.RANK_WEIGHTS, schema.RANK_BATCH)


def ranks(run: Run) -> dict[str, Any]:
    """A row for each rank of the first watch that compares ranks; empty where none does."""
    for history in run.watches.values():
        subjects = sorted({s for kind in _KINDS for s in history.subjects(kind)}, key=lambda s: (len(s), s))
        if subjects and len(history):
            return _of(history, subjects)
    return {"steps": [], "ranks": [], "ranks_left_out": 0}


def _of(history: History, subjects: list[str]) -> dict[str, Any]:
    steps = history.steps
    columns = reduce.columns([steps], POINTS)
    column = columns.of(steps)
    loss, seconds, unlike, batch = (_column(history, kind, subjects) for kind in _KINDS)
    first_unlike = _column(history, schema.RANK_WEIGHTS, subjects, schema.MIN)
    seconds[:WARM_UP] = np.nan
    typical = _median(seconds)
    rows = []
    for i, rank in enumerate(subjects[:RANKS_MOST]):
        others = np.delete(typical, i)
        apart = np.flatnonzero(unlike[:, i] > 0)
        same = batch[:, i][~np.isnan(batch[:, i])]
        rows.append(
            {
                "rank": rank,
                "loss": json_number(_last(loss[:, i])),
                "seconds": json_number(typical[i]),
                "times": json_number(typical[i] / _middle(others)),
                "unlike": json_number(np.nanmax(unlike[:, i])) if (~np.isnan(unlike[:, i])).any() else None,
                "unlike_from": int(steps[apart[0]]) if len(apart) else None,
                "parameter": _parameter(history, first_unlike[apart[0], i]) if len(apart) else None,
                "same_batch": float(same.mean()) if len(same) else None,
                "loss_over_steps_f32": f32(reduce.extremes(loss[:, i], column, len(columns))[1]),
                "seconds_over_steps_f32": f32(reduce.extremes(seconds[:, i], column, len(columns))[1]),
            }
        )
    return {"steps": ints(columns.starts), "ranks": rows, "ranks_left_out": max(0, len(subjects) - RANKS_MOST)}


def _column(history: History, kind: str, subjects: list[str], statistic: str = schema.MEAN) -> reduce.Doubles:
    """Values of ``kind`` for each rank in ``subjects``, shape (records, ranks); NaN where there are none."""
    table = history.table(kind, statistic)
    values = np.full((len(history), len(subjects)), np.nan)
    for i, subject in enumerate(table.subjects):
        values[:, subjects.index(subject)] = table.values[:, i]
    return values


def _median(values: reduce.Doubles) -> reduce.Doubles:
    return np.array([_middle(column) for column in values.T])


def _middle(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _last(values: NDArray[np.float64]) -> float:
    """The last value measured, be it finite or not by nature of the loss."""
    known = np.flatnonzero(~np.isnan(values))
    return float(values[known[-1]]) if len(known) else float("nan")


def _parameter(history: History, index: float) -> str | None:
    parameters = history.layout.parameters
    return parameters[int(index)].name if np.isfinite(index) and 0 <= index < len(parameters) else None
