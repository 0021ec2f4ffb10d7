"""The filters of the first convolution over the steps, few enough to stand side by side."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.findings import json_number
from tb_nnhealth.history import Filters, History, Run
from tb_nnhealth.plugin.layers import prefix_of

SHOWN = 6
"""Pictures in one reply: the first, the newest, and some between, evenly by the logarithm of their steps."""
NOISY = 0.2
"""Smoothness of one filter beneath which it is marked as noise, where others have become smooth."""


def filters(run: Run, layer: str) -> dict[str, Any] | None:
    """Pictures of the filters of ``layer``, or None where none are recorded of it."""
    for watch, history in run.watches.items():
        own = [f for f in history.filters if _layer(prefix_of(run, watch), f) == layer]
        if own:
            shown = _spread(own)
            newest = shown[-1]
            return {
                "parameter": prefix_of(run, watch) + newest.parameter,
                "total": newest.total,
                "pictures": [_picture(history, f) for f in shown if f.pixels.shape == newest.pixels.shape],
            }
    return None


def _layer(prefix: str, filters: Filters) -> str:
    return prefix + filters.parameter.rpartition(".")[0]


def _spread(pictures: list[Filters]) -> list[Filters]:
    if len(pictures) <= SHOWN:
        return pictures
    steps = np.log1p(np.array([f.step - pictures[0].step for f in pictures], np.float64))
    wanted = np.linspace(steps[1], steps[-1], SHOWN - 1)
    places = {0, *(int(np.abs(steps - at).argmin()) for at in wanted)}
    return [pictures[i] for i in sorted(places)]


def _picture(history: History, filters: Filters) -> dict[str, Any]:
    return {
        "step": filters.step,
        "shape": list(filters.pixels.shape),
        "pixels": base64.b64encode(filters.pixels.tobytes()).decode("ascii"),
        "smoothness": json_number(_recorded(history, filters)),
        "noisy": _noisy(filters),
    }


def _recorded(history: History, filters: Filters) -> float:
    """The smoothness of all filters, as it was recorded at the step."""
    table = history.table(schema.SMOOTHNESS, schema.MEAN)
    at = np.flatnonzero(table.steps == filters.step)
    if filters.parameter not in table.subjects or not len(at):
        return float("nan")
    return float(table.values[at[-1], table.subjects.index(filters.parameter)])


def _noisy(filters: Filters) -> list[int]:
    """Filters without structure among others that have some."""
    span = (filters.high - filters.low)[:, None, None, None]
    values = filters.low[:, None, None, None] + span * (filters.pixels.astype(np.float32) / 255)
    square = np.square(values).mean((1, 2, 3))
    down = (values[:, :, 1:] * values[:, :, :-1]).mean((1, 2, 3))
    right = (values[:, :, :, 1:] * values[:, :, :, :-1]).mean((1, 2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        smooth = (down + right) / (2 * square)
    if not np.nanmedian(np.where(square > 0, smooth, 0.0)) > 2 * NOISY:
        return []
    return [int(i) for i in np.flatnonzero((smooth < NOISY) & (square > 0))]
